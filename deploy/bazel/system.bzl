"""`system_library`: a library already installed on the machine, found by pkg-config.

The generated cc_library carries only defines and linkopts. Headers come from the compiler's own search
path: naming /usr/include here would turn it into `-isystem` and break libstdc++'s `#include_next`.
"""

def _run(rctx, argv):
    r = rctx.execute(argv)
    if r.return_code != 0:
        fail("%s: `%s` failed: %s\nRun deploy/install.sh to install what the build needs." %
             (rctx.name, " ".join([str(a) for a in argv]), r.stderr))
    return r.stdout.strip()

def _keep_last(flags):
    """Drops all but the last of repeated link flags: what a library needs stands after it."""
    seen = {}
    out = []
    for flag in reversed(flags):
        if flag and (flag not in seen or not flag.startswith("-l")):
            seen[flag] = True
            out.append(flag)
    return reversed(out)

def _system_library_impl(rctx):
    pkg_config = rctx.which("pkg-config")
    if not pkg_config:
        fail("pkg-config not found. Run deploy/install.sh to install what the build needs.")
    cflags = _run(rctx, [pkg_config, "--cflags"] + rctx.attr.pkg_config).split(" ")
    libs = _run(rctx, [pkg_config, "--libs"] + rctx.attr.pkg_config).split(" ")
    version = _run(rctx, [pkg_config, "--modversion", rctx.attr.pkg_config[0]])
    exports = ["VERSION"]
    for tool in rctx.attr.tools:
        path = rctx.which(tool)
        if not path:
            fail("%s: tool %s not found. Run deploy/install.sh." % (rctx.name, tool))
        rctx.symlink(path, tool)
        exports.append(tool)
    rctx.file("VERSION", version + "\n")
    rctx.file("BUILD", """
package(default_visibility = ["//visibility:public"])

exports_files(%r)

cc_library(
    name = %r,
    defines = %r,
    linkopts = %r,
)
""" % (
        exports,
        rctx.name,
        [f[2:] for f in cflags if f.startswith("-D")],
        rctx.attr.libs + _keep_last(libs),
    ))

system_library = repository_rule(
    implementation = _system_library_impl,
    attrs = {
        "libs": attr.string_list(doc = "Link flags that have no pkg-config file of their own."),
        "pkg_config": attr.string_list(mandatory = True, doc = "pkg-config package names."),
        "tools": attr.string_list(doc = "Programs of the library to export as labels."),
    },
    environ = ["PKG_CONFIG_PATH"],
    local = True,
)
