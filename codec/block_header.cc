// The block header: FORMAT.md, "Block header".
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/container.h"

namespace kvcompd::codec {
namespace {

constexpr uint32_t kHeaderMagic = 0x4243564b;  // "KVCB"
constexpr size_t kFirstBytes = 16;             // keep their meaning in every version
constexpr size_t kFixedBytes = 176;            // up to the layer list
constexpr size_t kCrcBytes = 4;
constexpr size_t kAlignment = 64;
constexpr size_t kMinHeaderBytes = 192;
constexpr uint32_t kMaxGroupId = 255;
constexpr uint32_t kOneAsF32 = 0x3f800000;

absl::Status Corrupt(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("block header: ", what));
}

size_t CanonicalHeaderBytes(size_t layers, size_t profile_bytes) {
  return AlignUp(kFixedBytes + 2 * layers + profile_bytes + kCrcBytes, kAlignment);
}

// The header's CRC is right, so a number beyond the limits of this version is a newer version's.
absl::Status Newer(absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat("block header: ", what));
}

bool ValidHeadDim(uint32_t channels, DType dtype) {
  if (dtype == DType::kOpaque) return channels >= 1 && channels <= kMaxOpaqueBytes;
  return channels >= kMinHeadDim && channels <= kMaxHeadDim;
}

absl::Status CheckFields(const BlockHeader& h) {
  if (h.tokens == 0 || h.shard.head_count == 0 || h.shard.layer_count == 0 || h.head_dim_k == 0) {
    return Corrupt("no tokens, heads, layers or channels");
  }
  if (ElementBytes(h.dtype) == 0) return Newer("a dtype that is not known here");
  if (h.tokens > kMaxBlockTokens) return Newer("tokens over the limit");
  if (h.shard.group > kMaxGroupId) return Newer("group over the limit");
  if (h.shard.head_count > kMaxHeads || h.shard.head_begin > kMaxHeads - h.shard.head_count) {
    return Newer("heads over the limit");
  }
  if (h.shard.layer_count > kMaxLayers || h.shard.layer_begin > kMaxLayers - h.shard.layer_count) {
    return Newer("layers over the limit");
  }
  if (!ValidHeadDim(h.head_dim_k, h.dtype)) return Newer("head_dim_k outside the limits");
  if (h.head_dim_v != 0 && h.dtype == DType::kOpaque) return Corrupt("opaque with V");
  if (h.head_dim_v != 0 && !ValidHeadDim(h.head_dim_v, h.dtype))
    return Newer("head_dim_v outside the limits");
  // As bits: negative numbers (-0 too), infinities and NaN are all above 1.
  if (std::bit_cast<uint32_t>(h.error_bound) > kOneAsF32) return Corrupt("error bound out of range");
  return absl::OkStatus();
}

// Layer list, profile and, in this minor version, padding: what follows the fixed fields.
absl::Status ReadLists(ByteReader* r, uint32_t profile_bytes, size_t header_bytes, BlockHeader* h) {
  if (profile_bytes == 0) return Corrupt("no profile");
  if (profile_bytes > Profile::kMaxTextBytes) return Newer("profile over the limit");
  const size_t canonical_bytes = CanonicalHeaderBytes(h->shard.layer_count, profile_bytes);
  if (header_bytes < canonical_bytes || (h->minor <= kFormatMinor && header_bytes != canonical_bytes)) {
    return Corrupt("header_bytes does not follow from the fields");
  }
  h->layers.resize(h->shard.layer_count);
  for (size_t i = 0; i < h->layers.size(); ++i) {
    h->layers[i] = r->U16();
    if (h->layers[i] > kMaxLayerNumber || (i > 0 && h->layers[i] <= h->layers[i - 1])) {
      return Corrupt("layer list is not ascending");
    }
  }
  h->profile = AsChars(r->Bytes(profile_bytes));
  for (char c : h->profile) {
    if (c < 0x21 || c > 0x7e) return Corrupt("profile is no text");
  }
  const ByteSpan rest = r->Bytes(header_bytes - kCrcBytes - r->offset());
  if (!r->ok()) return Corrupt("truncated");
  if (h->minor <= kFormatMinor && !AllZero(rest)) return Corrupt("padding is not 0");
  return absl::OkStatus();
}

}  // namespace

uint64_t BlockHeader::raw_bytes() const {
  return uint64_t{shard.layer_count} * shard.head_count * tokens * (uint64_t{head_dim_k} + head_dim_v) *
         ElementBytes(dtype);
}

SegmentShape BlockHeader::segment_shape(Tensor tensor) const {
  return {dtype,
          tensor,
          shard.head_begin,
          shard.head_count,
          tokens,
          tensor == Tensor::kK ? head_dim_k : head_dim_v};
}

SegmentPlace BlockHeader::place(uint32_t layer_index, Tensor tensor) const {
  return {fingerprint, key, layers[layer_index], tensor};
}

std::string SerializeBlockHeader(const BlockHeader& h) {
  const size_t bytes = CanonicalHeaderBytes(h.layers.size(), h.profile.size());
  std::string out;
  out.reserve(bytes);
  ByteWriter w(&out);
  w.U32(kHeaderMagic);
  w.U8(kFormatMajor);
  w.U8(kFormatMinor);
  w.U16(static_cast<uint16_t>(bytes));
  w.U32(h.must_understand & kKnownMustUnderstand);
  w.U32(0);  // may_ignore: none are known
  w.Bytes(h.fingerprint.view());
  w.U8(static_cast<uint8_t>(h.key.size()));
  w.U8(static_cast<uint8_t>(h.dtype));
  w.U16(static_cast<uint16_t>(h.tokens));
  w.Bytes(h.key.view());
  w.Zeros(BlockKey::kMaxBytes - h.key.size());
  w.U16(static_cast<uint16_t>(h.shard.group));
  w.U16(static_cast<uint16_t>(h.shard.head_begin));
  w.U16(static_cast<uint16_t>(h.shard.head_count));
  w.U16(static_cast<uint16_t>(h.shard.layer_begin));
  w.U16(static_cast<uint16_t>(h.shard.layer_count));
  w.U16(0);
  w.U32(h.head_dim_k);
  w.U32(h.head_dim_v);
  w.F32(h.error_bound);
  w.U16(static_cast<uint16_t>(h.profile.size()));
  w.U16(0);
  w.Bytes(h.codebook_set.view());
  for (uint32_t layer : h.layers) w.U16(static_cast<uint16_t>(layer));
  w.Bytes(h.profile);
  w.Zeros(bytes - kCrcBytes - out.size());
  w.U32(Crc32c(AsBytes(out)));
  return out;
}

absl::StatusOr<uint32_t> BlockHeaderBytes(ByteSpan first_bytes) {
  if (first_bytes.size() < kFirstBytes) return Corrupt("truncated");
  ByteReader r(first_bytes);
  if (r.U32() != kHeaderMagic) return Corrupt("no block starts here");
  const uint32_t major = r.U8();
  if (major != kFormatMajor) {
    return absl::UnimplementedError(
        absl::StrCat("block header: format version ", major, " is not known here"));
  }
  r.U8();  // minor
  const uint32_t bytes = r.U16();
  if (bytes < kMinHeaderBytes || bytes % kAlignment != 0) return Corrupt("impossible size");
  return bytes;
}

absl::StatusOr<BlockHeader> ParseBlockHeader(ByteSpan bytes, size_t* consumed) {
  const absl::StatusOr<uint32_t> header_bytes = BlockHeaderBytes(bytes);
  if (!header_bytes.ok()) return header_bytes.status();
  if (*header_bytes > bytes.size()) return Corrupt("truncated");
  bytes = bytes.first(*header_bytes);
  // Before the bits, so that damage is not mistaken for a newer format.
  ByteReader crc(bytes.last(kCrcBytes));
  if (crc.U32() != Crc32c(bytes.first(bytes.size() - kCrcBytes))) return Corrupt("CRC");

  ByteReader r(bytes);
  BlockHeader h;
  r.Bytes(5);  // magic, major
  h.minor = r.U8();
  r.U16();  // header_bytes
  h.must_understand = r.U32();
  h.may_ignore = r.U32();
  if ((h.must_understand & ~kKnownMustUnderstand) != 0) {
    return absl::UnimplementedError("block header: a must-understand bit that is not known here");
  }
  std::memcpy(h.fingerprint.bytes.data(), r.Bytes(h.fingerprint.bytes.size()).data(),
              h.fingerprint.bytes.size());
  const uint32_t key_bytes = r.U8();
  h.dtype = static_cast<DType>(r.U8());
  h.tokens = r.U16();
  const ByteSpan key = r.Bytes(BlockKey::kMaxBytes);
  if (key_bytes < BlockKey::kMinBytes || key_bytes > BlockKey::kMaxBytes)
    return Corrupt("key length out of range");
  if (!AllZero(key.subspan(key_bytes))) return Corrupt("padding of the key is not 0");
  h.key = *BlockKey::FromBytes(AsChars(key.first(key_bytes)));
  h.shard.group = r.U16();
  h.shard.head_begin = r.U16();
  h.shard.head_count = r.U16();
  h.shard.layer_begin = r.U16();
  h.shard.layer_count = r.U16();
  uint32_t reserved = r.U16();
  h.head_dim_k = r.U32();
  h.head_dim_v = r.U32();
  h.error_bound = r.F32();
  const uint32_t profile_bytes = r.U16();
  reserved |= r.U16();
  std::memcpy(h.codebook_set.bytes.data(), r.Bytes(h.codebook_set.bytes.size()).data(),
              h.codebook_set.bytes.size());
  if (reserved != 0) return Corrupt("a reserved field is not 0");
  if (absl::Status s = CheckFields(h); !s.ok()) return s;
  if (absl::Status s = ReadLists(&r, profile_bytes, bytes.size(), &h); !s.ok()) return s;
  if (consumed != nullptr) *consumed = bytes.size();
  return h;
}

}  // namespace kvcompd::codec
