// Profile: a codec configuration in one text grammar, used by flags, RPC, tests and benchmarks.
//
//   profile := codec [ ":" option *( "," option ) ]
//   option  := name "=" value          ; each name once, in any order
//   codec, name := 1*( "a" to "z" | "0" to "9" | "_" ); known codecs: "raw", "kvcomp"
//
//   raw       no options
//   kvcomp    rel_k=0.005..0.5   (0.05)   quantisation step of K relative to its unit's range
//             rel_v=0.005..0.5   (0.1)    the same for V
//             k_unit=block|channel (block)  one scale a tile group, or one a channel of a head and 64 tokens
//             strict=0|1         (0)      no slack for rounding in the error bound (FORMAT.md, "Error bound")
//
// The canonical text (FORMAT.md, "Profile") has the options in the order above, rel_k and rel_v always and
// the others only where they are not at their defaults, numbers in the shortest form that parses back to the
// same double: "kvcomp:rel_k=0.05,rel_v=0.1". An option that is added later is left out at its default, too,
// so the texts and the codebook set ids of today stay. Two profiles are the same where their canonical texts
// are. Plain values.
#ifndef KVCOMPD_CODEC_BASE_PROFILE_H_
#define KVCOMPD_CODEC_BASE_PROFILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "codec/base/types.h"

namespace kvcompd {

// Frozen in the file format.
enum class CodecId : uint8_t { kRaw = 1, kKvcomp = 2 };
std::string_view CodecName(CodecId id);

enum class KUnit : uint8_t { kBlock = 1, kChannel = 2 };

struct Profile {
  CodecId codec = CodecId::kRaw;
  double rel_k = 0.05;
  double rel_v = 0.1;
  KUnit k_unit = KUnit::kBlock;
  bool strict = false;

  static constexpr size_t kMaxTextBytes = 512;

  // INVALID_ARGUMENT says which part is wrong and what is allowed; UNIMPLEMENTED: well formed, with a codec,
  // an option or a k_unit that is not known here.
  static absl::StatusOr<Profile> Parse(std::string_view text);
  absl::Status Validate() const;
  std::string Text() const;  // canonical

  double rel(Tensor t) const { return t == Tensor::kK ? rel_k : rel_v; }
  bool lossless() const { return codec == CodecId::kRaw; }
  // Largest |x-y| relative to the unit's range that the profile allows; 0: bit-exact.
  double ErrorBound(Tensor t) const { return lossless() ? 0.0 : rel(t) / 2; }
  double ErrorBound() const;  // the larger of K and V

  friend bool operator==(const Profile& a, const Profile& b) { return a.Text() == b.Text(); }
};

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_PROFILE_H_
