"""`cc_grpc_library`: messages and services from one .proto, by the system's protoc and grpc_cpp_plugin."""

def cc_grpc_library(name, src, deps = [], proto_deps = [], **kwargs):
    """Generates and compiles C++ for one .proto file.

    Args:
      name: the cc_library's name.
      src: the .proto; its imports are written from the repository's root.
      deps: cc_grpc_library targets of the imported files.
      proto_deps: the imported .proto files.
      **kwargs: passed on to cc_library.
    """
    stem = src[:-len(".proto")]
    outs = [stem + ext for ext in [".pb.h", ".pb.cc", ".grpc.pb.h", ".grpc.pb.cc"]]
    native.genrule(
        name = name + "_gen",
        srcs = [src] + proto_deps,
        outs = outs,
        # VERSION is named so that an upgraded protoc generates anew.
        tools = ["@grpcpp//:protoc", "@grpcpp//:grpc_cpp_plugin", "@grpcpp//:VERSION"],
        cmd = "$(location @grpcpp//:protoc) -I. -I/usr/include --cpp_out=$(GENDIR) --grpc_out=$(GENDIR) " +
              "--plugin=protoc-gen-grpc=$(location @grpcpp//:grpc_cpp_plugin) $(location %s)" % src,
    )
    native.cc_library(
        name = name,
        srcs = [o for o in outs if o.endswith(".cc")],
        hdrs = [o for o in outs if o.endswith(".h")],
        copts = ["-std=c++20", "-w"],  # generated code is not ours to warn about
        deps = deps + ["@grpcpp"],
        **kwargs
    )
