#include "codec/simd/targets.h"

#include <algorithm>
#include <atomic>

#include "hwy/targets.h"

namespace kvcompd::codec {
namespace {

struct Named {
  SimdTarget target;
  int64_t highway;  // 0: none, the scalar reference
  const char* name;
};
constexpr Named kTargets[] = {{SimdTarget::kScalar, 0, "scalar"},
                              {SimdTarget::kSse4, HWY_SSE4, "sse4"},
                              {SimdTarget::kAvx2, HWY_AVX2, "avx2"},
                              {SimdTarget::kAvx512, HWY_AVX3, "avx512"},
                              {SimdTarget::kAvx512Dl, HWY_AVX3_DL, "avx512_dl"}};

const std::vector<SimdTarget>& Supported() {
  static const std::vector<SimdTarget> supported = [] {
    std::vector<SimdTarget> found;
    const int64_t machine = hwy::SupportedTargets();
    for (const Named& t : kTargets) {
      if (t.highway == 0 || (machine & t.highway) != 0) found.push_back(t.target);
    }
    return found;
  }();
  return supported;
}

std::atomic<SimdTarget>& Active() {
  static std::atomic<SimdTarget> active = Supported().back();
  return active;
}

}  // namespace

std::string_view SimdTargetName(SimdTarget target) { return kTargets[static_cast<size_t>(target)].name; }

std::vector<SimdTarget> SupportedSimdTargets() { return Supported(); }

void UseSimdTarget(SimdTarget target) {
  const std::vector<SimdTarget>& supported = Supported();
  const auto above = std::upper_bound(supported.begin(), supported.end(), target);
  const SimdTarget chosen = *(above - 1);  // the scalar one is always there, and first
  // Highway takes the best of those that are left.
  int64_t allowed = 0;
  for (const Named& t : kTargets) {
    if (t.target <= chosen) allowed |= t.highway;
  }
  hwy::SetSupportedTargetsForTest(chosen == SimdTarget::kScalar ? 0 : allowed);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  Active() = chosen;
}

SimdTarget ActiveSimdTarget() { return Active(); }

bool ScalarOnly() { return Active() == SimdTarget::kScalar; }

}  // namespace kvcompd::codec
