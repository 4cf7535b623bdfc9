"""`kvcompd_fuzz_target`: one libFuzzer entry point, replayed over its corpus by every test run.

    bazel test //tests/fuzz:segment_fuzz_replay_test                # the corpus, any compiler
    bazel build --config=fuzz //tests/fuzz:segment_fuzz             # libFuzzer, clang
    bazel-bin/tests/fuzz/segment_fuzz NEW_INPUTS tests/fuzz/corpus/segment_fuzz
"""

load(":cc.bzl", "KVCOMPD_COPTS")

def kvcompd_fuzz_target(name, srcs, deps = [], size = "small", defines = []):
    """NAME (libFuzzer binary, only with --config=fuzz) and NAME_replay_test.

    Args:
      name: also the folder of its corpus, corpus/NAME beside the BUILD file; it must hold an input.
      srcs: they define LLVMFuzzerTestOneInput.
      deps: of srcs.
      size: of the test.
      defines: for the compilation of srcs.
    """
    native.cc_test(
        name = name + "_replay_test",
        srcs = srcs,
        args = ["%s/corpus/%s" % (native.package_name(), name)],
        copts = KVCOMPD_COPTS,
        data = native.glob(["corpus/%s/**" % name]),
        local_defines = defines,
        size = size,
        deps = deps + ["//tests/fuzz:replay_main"],
    )
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = srcs,
        copts = KVCOMPD_COPTS,
        linkopts = ["-fsanitize=fuzzer"],
        local_defines = defines,
        tags = ["manual"],  # gcc has no libFuzzer
        deps = deps,
    )
