"""`cuda_configure`: finds the CUDA toolkit, or makes every GPU target incompatible where there is none.

CUDA_HOME names the toolkit (default /usr/local/cuda). The generated @local_cuda has cuda_headers, cudart
and nccl, and defs.bzl with CUDA_FOUND and NVCC. Without a toolkit those targets ask for a constraint that
no platform has, so that `bazel test //...` reports what stands on them as SKIPPED and builds the rest.
"""

_FOUND = """
package(default_visibility = ["//visibility:public"])

exports_files(["VERSION"])

cc_library(
    name = "cuda_headers",
    hdrs = glob(["include/**"]),
    includes = ["include"],
)

cc_library(
    name = "cudart",
    srcs = ["lib64/libcudart_static.a"],
    linkopts = ["-ldl", "-lpthread", "-lrt"],
    deps = [":cuda_headers"],
)
"""

_ABSENT = """
package(default_visibility = ["//visibility:public"])

exports_files(["VERSION"])

constraint_setting(name = "toolkit")

constraint_value(
    name = "toolkit_present",
    constraint_setting = ":toolkit",
)

cc_library(
    name = "cuda_headers",
    target_compatible_with = [":toolkit_present"],
)

cc_library(
    name = "cudart",
    target_compatible_with = [":toolkit_present"],
)
"""

def _cuda_configure_impl(rctx):
    root = rctx.os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = rctx.path(root + "/bin/nvcc")
    found = nvcc.exists
    version = "none"
    if found:
        rctx.symlink(root + "/include", "include")
        rctx.symlink(root + "/lib64", "lib64")
        r = rctx.execute([nvcc, "--version"])
        if r.return_code != 0:
            fail("%s --version failed: %s" % (nvcc, r.stderr))
        version = r.stdout.strip()
    rctx.file("VERSION", version + "\n")
    rctx.file("defs.bzl", "CUDA_FOUND = %r\n\nNVCC = %r\n" % (found, str(nvcc)))
    rctx.file("BUILD", _FOUND if found else _ABSENT)

cuda_configure = repository_rule(
    implementation = _cuda_configure_impl,
    environ = ["CUDA_HOME"],
    local = True,
)
