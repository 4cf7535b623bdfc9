"""Stand-ins for the repositories that Bazel 4.2 would download for a plain cc_test."""

_CC_RULES = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_proto_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "fdo_prefetch_hints",
    "fdo_profile",
    "objc_import",
    "objc_library",
]

def _native_rules_cc_impl(rctx):
    # Debian's packaged rules_cc is too new for 4.2 (it needs use_cpp_toolchain); all that is needed is
    # the native rules under their @rules_cc names.
    rctx.file("cc/BUILD", "")
    rctx.file("cc/defs.bzl", "".join(["%s = native.%s\n" % (r, r) for r in _CC_RULES]))
    rctx.file("BUILD", "")

native_rules_cc = repository_rule(implementation = _native_rules_cc_impl)

def _no_coverage_tools_impl(rctx):
    # cc_test names @remote_coverage_tools even when no coverage is collected.
    rctx.file("BUILD", """
filegroup(
    name = "coverage_report_generator",
    srcs = [],
    visibility = ["//visibility:public"],
)
""")

no_coverage_tools = repository_rule(implementation = _no_coverage_tools_impl)
