// A library that `outer` uses, and `undeclared_include` includes without saying so in its deps.
#ifndef KVCOMPD_TESTS_BUILD_PLANTED_INNER_H_
#define KVCOMPD_TESTS_BUILD_PLANTED_INNER_H_

namespace kvcompd {

inline int Inner() { return 1; }

}  // namespace kvcompd

#endif  // KVCOMPD_TESTS_BUILD_PLANTED_INNER_H_
