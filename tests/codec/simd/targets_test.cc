#include "codec/simd/targets.h"

#include <gtest/gtest.h>

#include <set>

namespace kvcompd::codec {
namespace {

TEST(SimdTargetsTest, TheBestIsActiveAndScalarIsAlwaysThere) {
  const std::vector<SimdTarget> supported = SupportedSimdTargets();
  ASSERT_FALSE(supported.empty());
  EXPECT_EQ(supported.front(), SimdTarget::kScalar);
  EXPECT_EQ(ActiveSimdTarget(), supported.back());
  std::set<std::string_view> names;
  for (const SimdTarget target : supported) names.insert(SimdTargetName(target));
  EXPECT_EQ(names.size(), supported.size());
}

TEST(SimdTargetsTest, OneIsChosen) {
  const std::vector<SimdTarget> supported = SupportedSimdTargets();
  for (const SimdTarget target : supported) {
    UseSimdTarget(target);
    EXPECT_EQ(ActiveSimdTarget(), target);
    EXPECT_EQ(ScalarOnly(), target == SimdTarget::kScalar);
  }
  UseSimdTarget(SimdTarget::kAvx512Dl);
  EXPECT_EQ(ActiveSimdTarget(), supported.back());
}

}  // namespace
}  // namespace kvcompd::codec
