// What codec kvcomp promises, computed from codec/FORMAT.md with nothing of the code under test: the units of
// a group, their range, step and zero, what each value decodes to, and the bound that it must keep. For tests
// of any backend.
//
//   BoundCheck check = CheckGroup(shape, profile, values, decoded, modes);
//   EXPECT_EQ(check.failures, "");
#ifndef KVCOMPD_TESTS_CODEC_KVCOMP_ORACLE_H_
#define KVCOMPD_TESTS_CODEC_KVCOMP_ORACLE_H_

#include <string>
#include <vector>

#include "codec/codec.h"

namespace kvcompd::testing {

struct BoundCheck {
  std::string failures;         // the first one; empty: none
  double max_error_over_r = 0;  // over lossy tiles and units with r > 0
  double rms_error_over_r = 0;
  uint64_t lossy_values = 0;  // with r > 0
};

// values, decoded: [heads, tokens, channels]. Raw tiles must be equal bit by bit, tiles with NaN or Inf or
// with a unit that cannot be quantised must be raw, and the values of others must be those that FORMAT.md
// gives and keep the bound.
BoundCheck CheckGroup(const codec::GroupShape& shape, const Profile& profile, const std::string& values,
                      const std::string& decoded, const std::vector<codec::TileMode>& modes);

}  // namespace kvcompd::testing

#endif  // KVCOMPD_TESTS_CODEC_KVCOMP_ORACLE_H_
