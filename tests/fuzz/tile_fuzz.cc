// Fuzzes tile decoding and the encoder. Input: 8 bytes that choose codec, shape, mode, header length and
// book, then header and payload. The decoder must refuse or decode, in its own memory; the rest, taken as
// values, must encode to the same bytes whatever the buffers held before, come back, and keep the bound.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "codec/codebook.h"
#include "codec/codec.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kvcomp_oracle.h"

namespace {

using kvcompd::DType;
using kvcompd::KUnit;
using kvcompd::Profile;
using kvcompd::Tensor;
namespace codec = kvcompd::codec;

constexpr size_t kChoiceBytes = 8;

void Require(bool condition) {
  if (!condition) std::abort();
}

codec::GroupShape ShapeOf(const uint8_t* choice) {
  codec::GroupShape shape;
  shape.dtype = static_cast<DType>(1 + choice[1] % 5);
  shape.tensor = choice[1] & 0x80 ? Tensor::kV : Tensor::kK;
  shape.heads = 1 + choice[2] % 2;
  shape.tokens = 1 + choice[3] % 64;
  // Mostly few channels, for speed; the second half of choice[2] takes them up to 576.
  shape.channels = 8 + (choice[2] & 0x80 ? choice[4] * 568u / 255 : choice[4] % 57u);
  return shape;
}

Profile ProfileOf(const codec::Codec& c, const uint8_t* choice) {
  constexpr double kSteps[] = {0.005, 0.01, 0.05, 0.1, 0.2, 0.5};
  Profile profile{.codec = c.id()};
  profile.rel_k = profile.rel_v = kSteps[choice[7] % 6];
  profile.k_unit = choice[7] & 0x40 ? KUnit::kChannel : KUnit::kBlock;
  profile.strict = choice[7] & 0x80;
  profile.coder = choice[0] & 0x40 ? kvcompd::Coder::kRans : kvcompd::Coder::kHuffman;
  profile.v_unit = choice[0] & 0x20 ? kvcompd::VUnit::kBlock : kvcompd::VUnit::kToken;
  return profile;
}

// A book as training may make one: of any shape, by the fuzzer's bytes.
codec::Codebook BookOf(const Profile& profile, Tensor tensor, std::string_view bytes) {
  std::vector<uint64_t> counts(codec::BookSymbols(profile, tensor));
  for (size_t s = 0; s < counts.size() && s < bytes.size(); ++s) {
    counts[s] = uint64_t{1} << (static_cast<uint8_t>(bytes[s]) % 24);
  }
  return codec::Codebook::FromCounts(counts, profile.coder);
}

void FuzzDecode(const codec::Codec& c, const codec::GroupShape& shape, const uint8_t* choice,
                const codec::Codebook* book, std::string_view rest) {
  const size_t header_bytes = std::min<size_t>(rest.size(), choice[6] * 2);
  const auto mode = static_cast<codec::TileMode>(choice[5] % 5);
  const auto header = rest.substr(0, header_bytes);
  const bool header_ok = c.CheckGroupHeader(shape, kvcompd::AsBytes(header)).ok();
  const auto tile = kvcompd::testing::DecodeTile(c, shape, header, mode, rest.substr(header_bytes), book);
  Require(header_ok || mode == codec::TileMode::kRaw || !tile.ok());
}

void FuzzRoundTrip(const codec::Codec& c, const codec::GroupShape& shape, const Profile& profile,
                   const codec::Codebook* book, std::string_view rest) {
  std::string values(size_t{shape.heads} * shape.tile_bytes(), '\0');
  values.replace(0, std::min(values.size(), rest.size()), rest.substr(0, values.size()));
  const codec::EncodeParams params{.profile = profile, .book = book};
  const auto group = kvcompd::testing::EncodeGroup(c, shape, values, params, 0x00);
  const auto again = kvcompd::testing::EncodeGroup(c, shape, values, params, 0xff);
  Require(group.ok() && again.ok() && *group == *again);
  Require(c.CheckGroupHeader(shape, kvcompd::AsBytes(group->header)).ok());
  std::string decoded;
  for (uint32_t h = 0; h < shape.heads; ++h) {
    const auto tile = kvcompd::testing::DecodeTile(c, shape, *group, h, book);
    Require(tile.ok());
    decoded += *tile;
  }
  if (c.bit_exact() || shape.dtype == DType::kOpaque) return Require(decoded == values);
  Require(kvcompd::testing::CheckGroup(shape, profile, values, decoded, group->modes).failures.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kChoiceBytes) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + kChoiceBytes, size - kChoiceBytes);
  const codec::Codec& c =
      *codec::FindCodec(data[0] % 8 == 0 ? kvcompd::CodecId::kRaw : kvcompd::CodecId::kKvcomp);
  const codec::GroupShape shape = ShapeOf(data);
  const Profile profile = ProfileOf(c, data);
  codec::Codebook trained = BookOf(profile, shape.tensor, rest);
  const codec::Codebook* book = data[0] & 0x80 ? &trained : nullptr;  // null: the built-in one
  FuzzDecode(c, shape, data, book, rest);
  FuzzRoundTrip(c, shape, profile, book, rest);
  return 0;
}
