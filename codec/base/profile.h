// Profile: a codec configuration in one text grammar, used by flags, RPC, tests and benchmarks.
//
//   profile := codec [ ":" option *( "," option ) ]
//   option  := name "=" value          ; each name once, in any order
//   codec, name := 1*( "a" to "z" | "0" to "9" | "_" )
//
//   raw       no options
//   lossless  mode=fast|dense    (fast)   fixed-width exponent codes, or entropy-coded ones
//   intq      bits=2|4|8         (4)      of a code
//             group=32|64|128    (32)     values that share a scale: tokens of K's channel, channels of V's
//             token bits_v=2|4|8       (bits)   of V, where it is not K's
//   kvcomp    rel_k=0.005..0.5   (0.05)   quantisation step of K relative to its unit's range
//             rel_v=0.005..0.5   (0.1)    the same for V
//             k_unit=block|channel (block)  one scale a tile group, or one a channel of a head and 64 tokens
//             strict=0|1         (0)      no slack for rounding in the error bound (FORMAT.md, "Error bound")
//             v_unit=token|block (token)  one scale of V a token, or one a tile group
//             coder=huffman|rans (huffman) entropy coder of the codes
//   packkv    rel_k, rel_v as of kvcomp (0.1, 0.2)   relative to the token's range
//             repack=none|median|greedy|auto (none)  order of the tokens of a tile group
//             pack=4|8|16|32|auto (16)    tokens of a channel that share a width
//             auto: what a sample says is smallest, for K and V each (codec/packkv_tuner.h); the default
//             where nothing is known
//
// The canonical text (FORMAT.md, "Profile") has the options in the order above, the first two always (of raw
// none) and the others only where they are not at their defaults, numbers in the shortest form that parses
// back to the same double: "kvcomp:rel_k=0.05,rel_v=0.1". An option that is added later is left out at its
// default, too, so the texts and the codebook set ids of today stay. Two profiles are the same where their
// canonical texts are. Plain values.
#ifndef KVCOMPD_CODEC_BASE_PROFILE_H_
#define KVCOMPD_CODEC_BASE_PROFILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "codec/base/types.h"

namespace kvcompd {

// Frozen in the file format.
enum class CodecId : uint8_t { kRaw = 1, kKvcomp = 2, kLossless = 3, kIntq = 4, kPackkv = 5 };
std::string_view CodecName(CodecId id);

enum class LosslessMode : uint8_t { kFast = 1, kDense = 2 };
enum class KUnit : uint8_t { kBlock = 1, kChannel = 2 };
enum class VUnit : uint8_t { kToken = 1, kBlock = 2 };
enum class Coder : uint8_t { kHuffman = 1, kRans = 2 };
enum class Repack : uint8_t { kNone = 0, kMedian = 1, kGreedy = 2, kAuto = 3 };  // kAuto: in profiles only
std::string_view RepackName(Repack repack);

// How packkv lays out one tile group.
struct PackkvSetting {
  Repack repack = Repack::kNone;  // not kAuto
  uint32_t pack = 16;

  friend bool operator==(const PackkvSetting&, const PackkvSetting&) = default;
};

struct Profile {
  CodecId codec = CodecId::kRaw;
  LosslessMode mode = LosslessMode::kFast;  // lossless
  uint32_t bits = 4;                        // intq: of K, and of V where bits_v is 0
  uint32_t bits_v = 0;                      // intq
  uint32_t group = 32;                      // intq
  double rel_k = 0.05;                      // kvcomp, packkv
  double rel_v = 0.1;                       // kvcomp, packkv
  KUnit k_unit = KUnit::kBlock;             // kvcomp
  bool strict = false;                      // kvcomp
  VUnit v_unit = VUnit::kToken;             // kvcomp
  Coder coder = Coder::kHuffman;            // kvcomp
  Repack repack = Repack::kNone;            // packkv
  uint32_t pack = 16;                       // packkv; 0: auto

  static constexpr size_t kMaxTextBytes = 512;
  static constexpr uint32_t kAutoPack = 0;

  // The codec with its options at their defaults.
  static Profile Of(CodecId codec);
  // INVALID_ARGUMENT says which part is wrong and what is allowed; UNIMPLEMENTED: well formed, with a codec,
  // an option or a named value that is not known here.
  static absl::StatusOr<Profile> Parse(std::string_view text);
  absl::Status Validate() const;
  std::string Text() const;  // canonical

  double rel(Tensor t) const { return t == Tensor::kK ? rel_k : rel_v; }
  uint32_t bits_of(Tensor t) const { return t == Tensor::kV && bits_v != 0 ? bits_v : bits; }
  bool lossless() const { return codec == CodecId::kRaw || codec == CodecId::kLossless; }
  // Whether packkv's repack or pack is auto.
  bool packing_is_auto() const {
    return codec == CodecId::kPackkv && (repack == Repack::kAuto || pack == kAutoPack);
  }
  // packkv: the setting that stands here, with `chosen` for what is auto.
  PackkvSetting Packing(const PackkvSetting& chosen = {}) const {
    return {repack == Repack::kAuto ? chosen.repack : repack, pack == kAutoPack ? chosen.pack : pack};
  }
  // Largest |x-y| relative to the unit's range that the profile allows; 0: bit-exact.
  double ErrorBound(Tensor t) const;
  double ErrorBound() const;  // the larger of K and V

  friend bool operator==(const Profile& a, const Profile& b) { return a.Text() == b.Text(); }
};

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_PROFILE_H_
