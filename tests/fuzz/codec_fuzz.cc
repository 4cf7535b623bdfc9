// Fuzzes one codec, whose name is KVCOMPD_FUZZ_CODEC: tile decoding and the round trip. Input: 6 bytes that
// choose profile, shape, mode and header length, then header and payload. Decoding must refuse or decode, in
// its own memory, and do the same on every instruction set; the rest, taken as values, must encode to the
// same bytes whatever the buffers held before and whatever the instruction set, and come back.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/simd/targets.h"
#include "tests/codec/codec_profiles.h"
#include "tests/codec/group_coding.h"

namespace {

using kvcompd::DType;
using kvcompd::Profile;
using kvcompd::Tensor;
namespace codec = kvcompd::codec;

constexpr size_t kChoiceBytes = 6;

void Require(bool condition) {
  if (!condition) std::abort();
}

// The suites' profiles of the codec.
const std::vector<Profile>& Profiles() {
  static const auto* const profiles = [] {
    auto* found = new std::vector<Profile>();
    for (const char* text : kvcompd::testing::kSuiteProfiles) {
      const Profile profile = Profile::Parse(text).value();
      if (kvcompd::CodecName(profile.codec) == KVCOMPD_FUZZ_CODEC) found->push_back(profile);
    }
    Require(!found->empty());
    return found;
  }();
  return *profiles;
}

codec::GroupShape ShapeOf(const uint8_t* choice) {
  codec::GroupShape shape;
  shape.dtype = static_cast<DType>(1 + choice[1] % 5);
  shape.tensor = choice[1] & 0x80 ? Tensor::kV : Tensor::kK;
  shape.heads = 1 + (choice[1] >> 5) % 2;
  shape.tokens = 1 + choice[2] % 64;
  // Mostly few channels, for speed.
  shape.channels = 8 + (choice[2] & 0x80 ? choice[3] * 568u / 255 : choice[3] % 57u);
  return shape;
}

void FuzzDecode(const codec::Codec& c, const codec::GroupShape& shape, const uint8_t* choice,
                std::string_view rest) {
  const size_t header_bytes = std::min<size_t>(rest.size(), choice[5] * 2);
  const auto mode = static_cast<codec::TileMode>(choice[4] % (c.mode_names().size() + 1));
  const std::string_view header = rest.substr(0, header_bytes), payload = rest.substr(header_bytes);
  codec::UseSimdTarget(codec::SimdTarget::kScalar);
  const bool header_ok = c.CheckGroupHeader(shape, kvcompd::AsBytes(header)).ok();
  const auto reference = kvcompd::testing::DecodeTile(c, shape, header, mode, payload, nullptr);
  Require(header_ok || mode == codec::TileMode::kRaw || !reference.ok());
  for (const codec::SimdTarget target : codec::SupportedSimdTargets()) {
    codec::UseSimdTarget(target);
    const auto tile = kvcompd::testing::DecodeTile(c, shape, header, mode, payload, nullptr, 0xff);
    Require(tile.status().code() == reference.status().code());
    Require(!tile.ok() || *tile == *reference);
  }
}

void FuzzRoundTrip(const codec::Codec& c, const codec::GroupShape& shape, const Profile& profile,
                   std::string_view rest) {
  std::string values(size_t{shape.heads} * shape.tile_bytes(), '\0');
  values.replace(0, std::min(values.size(), rest.size()), rest.substr(0, values.size()));
  const codec::EncodeParams params{.profile = profile};
  codec::UseSimdTarget(codec::SimdTarget::kScalar);
  const auto reference = kvcompd::testing::EncodeGroup(c, shape, values, params, 0x00);
  Require(reference.ok() && c.CheckGroupHeader(shape, kvcompd::AsBytes(reference->header)).ok());
  for (const codec::SimdTarget target : codec::SupportedSimdTargets()) {
    codec::UseSimdTarget(target);
    const auto group = kvcompd::testing::EncodeGroup(c, shape, values, params, 0xff);
    Require(group.ok() && *group == *reference);
  }
  for (uint32_t h = 0; h < shape.heads; ++h) {
    const auto tile = kvcompd::testing::DecodeTile(c, shape, *reference, h);
    Require(tile.ok());
    if (!c.bit_exact() && reference->modes[h] != codec::TileMode::kRaw) continue;
    Require(*tile == values.substr(size_t{h} * shape.tile_bytes(), shape.tile_bytes()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kChoiceBytes) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + kChoiceBytes, size - kChoiceBytes);
  const Profile& profile = Profiles()[data[0] % Profiles().size()];
  const codec::Codec& c = *codec::FindCodec(profile.codec);
  const codec::GroupShape shape = ShapeOf(data);
  FuzzDecode(c, shape, data, rest);
  FuzzRoundTrip(c, shape, profile, rest);
  return 0;
}
