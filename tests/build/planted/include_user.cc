#include "tests/build/planted/inner.h"
#include "tests/build/planted/outer.h"

namespace kvcompd {

int Both() { return Inner() + Outer(); }

}  // namespace kvcompd
