#ifndef KVCOMPD_TESTS_BUILD_PLANTED_OUTER_H_
#define KVCOMPD_TESTS_BUILD_PLANTED_OUTER_H_

#include "tests/build/planted/inner.h"

namespace kvcompd {

inline int Outer() { return Inner() + 1; }

}  // namespace kvcompd

#endif  // KVCOMPD_TESTS_BUILD_PLANTED_OUTER_H_
