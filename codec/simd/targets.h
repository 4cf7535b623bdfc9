// Which instruction set the kernels of the CPU backend use. They choose by themselves, once, the best one
// that the machine has; tests and benchmarks choose another. The bytes are the same for all of them
// (FORMAT.md, "Determinism"), and a test of every kernel holds that.
//
// A kernel stands in codec/simd/NAME.{h,cc}: a plain function that says what it computes, the scalar
// reference, and one source compiled for every target by Highway:
//
//   void Widen(const uint16_t* in, size_t n, float* out) {
//     if (ScalarOnly()) return scalar::Widen(in, n, out);
//     HWY_DYNAMIC_DISPATCH(WidenSimd)(in, n, out);
//   }
//
// Thread-safe, but UseSimdTarget must not run while kernels do.
#ifndef KVCOMPD_CODEC_SIMD_TARGETS_H_
#define KVCOMPD_CODEC_SIMD_TARGETS_H_

#include <string_view>
#include <vector>

namespace kvcompd::codec {

enum class SimdTarget {
  kScalar,  // the reference: plain loops
  kSse4,
  kAvx2,
  kAvx512,    // F, BW, CD, DQ, VL
  kAvx512Dl,  // and VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ: Ice Lake, Zen 4
};
std::string_view SimdTargetName(SimdTarget target);

// Those that this machine runs, kScalar first, the best last.
std::vector<SimdTarget> SupportedSimdTargets();
// Of SupportedSimdTargets(); others are taken as the best one below.
void UseSimdTarget(SimdTarget target);
SimdTarget ActiveSimdTarget();
bool ScalarOnly();  // the active target is kScalar

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_SIMD_TARGETS_H_
