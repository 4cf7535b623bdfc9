"""The house's cc_library, cc_binary and cc_test: the one place where compiler options stand.

-ffp-contract=off: encoders must give the same bytes on every machine, so a*b+c never becomes one FMA.
"""

KVCOMPD_COPTS = [
    "-std=c++20",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
]

def kvcompd_cc_library(name, copts = [], **kwargs):
    native.cc_library(name = name, copts = KVCOMPD_COPTS + copts, **kwargs)

def kvcompd_cc_binary(name, copts = [], **kwargs):
    native.cc_binary(name = name, copts = KVCOMPD_COPTS + copts, **kwargs)

def kvcompd_cc_test(name, copts = [], deps = [], size = "small", **kwargs):
    native.cc_test(
        name = name,
        copts = KVCOMPD_COPTS + copts,
        size = size,
        deps = deps + ["@gtest_main"],
        **kwargs
    )
