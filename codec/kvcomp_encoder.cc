#include "codec/kvcomp_encoder.h"

#include <algorithm>
#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/float_format.h"
#include "codec/kvcomp_header.h"
#include "codec/quantizer.h"
#include "codec/tile_payload.h"

namespace kvcompd::codec {
namespace {

// Bytes of a payload or group header in its segment, with the padding to the next one.
constexpr uint64_t Stored(uint64_t bytes) { return AlignUp(bytes, kPayloadAlignment); }

}  // namespace

KvcompGroupEncoder::KvcompGroupEncoder(const GroupShape& shape, const std::byte* values,
                                       uint64_t head_stride_bytes, const Profile& profile,
                                       const Codebook& book, MutableByteSpan workspace, GroupOutput* out)
    : shape_(shape),
      values_(values),
      stride_(head_stride_bytes),
      rel_(profile.rel(shape.tensor)),
      strict_(profile.strict),
      unit_(UnitOf(profile, shape.tensor)),
      book_(book),
      out_(out),
      ws_(KvcompWorkspace::Carve(shape, workspace)),
      num_units_(unit_ == QuantUnit::kChannel ? shape.channels : HeaderUnits(unit_, shape.tokens)) {}

void KvcompGroupEncoder::Run(EncodeStats* stats) {
  ScanTiles();
  const bool shared_units_ok = unit_ == QuantUnit::kChannel || ChooseSharedUnits();
  for (uint32_t h = 0; h < shape_.heads; ++h) EncodeTile(h, shared_units_ok);
  WriteHeader();

  group_.tiles = shape_.heads;
  group_.raw_bytes = uint64_t{shape_.heads} * shape_.tile_bytes();
  group_.payload_bytes = out_->header_bytes;
  for (uint32_t h = 0; h < shape_.heads; ++h) group_.payload_bytes += out_->tiles[h].bytes;
  stats->Add(group_);
  if (stats->histogram != nullptr) {
    stats->histogram->resize(std::max<size_t>(stats->histogram->size(), kMaxSymbols));
    for (uint32_t s = 0; s < kMaxSymbols; ++s) (*stats->histogram)[s] += histogram_[s];
  }
}

void KvcompGroupEncoder::ScanTiles() {
  for (uint32_t t = 0; t < shape_.tokens; ++t) ws_.ranges[t] = UnitRange{};
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    ws_.finite[h] = AllFinite(shape_.dtype, tile(h), size_t{shape_.tokens} * shape_.channels);
    if (!ws_.finite[h] || unit_ == QuantUnit::kChannel) continue;
    for (uint32_t t = 0; t < shape_.tokens; ++t) {
      FloatsOfValues(shape_.dtype, tile(h) + size_t{t} * shape_.row_bytes(), shape_.channels,
                     ws_.values.data());
      ws_.ranges[t].Add(ws_.values.data(), shape_.channels);
    }
  }
}

bool KvcompGroupEncoder::SetUnit(uint32_t i, const UnitRange& range) {
  const auto params = ChooseUnitParams(shape_.dtype, range, rel_, strict_);
  if (!params.has_value()) return false;
  ws_.params[i] = *params;
  ws_.units.SetEncode(i, shape_.dtype, *params, book_.num_symbols(), RadiusOf(range, rel_), strict_);
  return true;
}

bool KvcompGroupEncoder::ChooseSharedUnits() {
  if (unit_ == QuantUnit::kBlock) {
    for (uint32_t t = 1; t < shape_.tokens; ++t) ws_.ranges[0].Add(ws_.ranges[t]);
  }
  for (uint32_t i = 0; i < num_units_; ++i) {
    if (!SetUnit(i, ws_.ranges[i])) return false;
  }
  return true;
}

bool KvcompGroupEncoder::ChooseChannelUnits() {
  for (uint32_t c = 0; c < shape_.channels; ++c) ws_.ranges[c] = UnitRange{};
  for (uint32_t t = 0; t < shape_.tokens; ++t) {
    const float* const row = ws_.values.data() + size_t{t} * shape_.channels;
    for (uint32_t c = 0; c < shape_.channels; ++c) ws_.ranges[c].Add({.min = row[c], .max = row[c]});
  }
  for (uint32_t c = 0; c < shape_.channels; ++c) {
    if (!SetUnit(c, ws_.ranges[c])) return false;
  }
  return true;
}

void KvcompGroupEncoder::EncodeTile(uint32_t head, bool shared_units_ok) {
  if (!ws_.finite[head]) return WriteRaw(head, Fallback::kNonFinite);
  if (!shared_units_ok) return WriteRaw(head, Fallback::kBound);
  FloatsOfValues(shape_.dtype, tile(head), ws_.values.size(), ws_.values.data());
  bool bounded = false;
  if (unit_ == QuantUnit::kChannel) {
    bounded = ChooseChannelUnits() && QuantizeTile<UnitsOfRow::kPerChannel>();
  } else {
    bounded = QuantizeTile<UnitsOfRow::kOne>();
  }
  if (!bounded) return WriteRaw(head, Fallback::kBound);
  CountCodes();
  WriteSmallest(head);
}

template <UnitsOfRow kUnits>
bool KvcompGroupEncoder::QuantizeTile() {
  const uint32_t channels = shape_.channels;
  std::fill_n(ws_.units.worst, num_units_, 0.0);  // of this tile alone: the one before may be raw
  for (uint32_t t = 0; t < shape_.tokens; ++t) {
    const float* const x = ws_.values.data() + size_t{t} * channels;
    uint8_t* const codes = ws_.codes.data() + size_t{t} * channels;
    const size_t unit = unit_ == QuantUnit::kToken ? t : 0;
    if (!QuantizeRow<kUnits>(x, channels, ws_.units, unit, book_.num_symbols(), codes)) return false;
    DequantizeRow<kUnits>(codes, channels, ws_.units, unit, ws_.approx.data());
    RoundFloats(shape_.dtype, ws_.approx.data(), channels, ws_.decoded.data());
    if (!CheckRow<kUnits>(shape_.dtype, x, ws_.approx.data(), ws_.decoded.data(), channels, strict_,
                          ws_.units, unit)) {
      return false;
    }
  }
  return true;
}

void KvcompGroupEncoder::WriteSmallest(uint32_t head) {
  const auto n = static_cast<uint32_t>(ws_.codes.size());
  const bool channel_params = unit_ == QuantUnit::kChannel;
  const auto params = ws_.params.first(channel_params ? shape_.channels : 0);
  const uint64_t side_bytes = channel_params ? TileParamsBytes(params) : 0;
  const PackedPlan packed = PlanPacked(ws_.codes.data(), n);
  const HuffmanPlan huffman = PlanHuffman(ws_.codes.data(), shape_.tokens, shape_.channels, book_);
  // By the bytes that each takes in the segment, padding included; of equal ones raw, then packed.
  const bool pack = Stored(side_bytes + packed.bytes) <= Stored(side_bytes + huffman.bytes);
  const uint64_t bytes = side_bytes + (pack ? packed.bytes : huffman.bytes);
  if (Stored(bytes) >= Stored(shape_.tile_bytes())) return WriteRaw(head, Fallback::kSize);

  const MutableByteSpan out = payload(head).first(bytes);
  if (channel_params) WriteTileParams(params, out);
  if (pack) {
    WritePacked(ws_.codes.data(), n, packed, out.subspan(side_bytes));
  } else {
    WriteHuffman(ws_.codes.data(), shape_.tokens, shape_.channels, book_, huffman, out.subspan(side_bytes));
  }
  out_->tiles[head] = {.mode = pack ? kKvcompPacked : kKvcompHuffman, .bytes = static_cast<uint32_t>(bytes)};
  group_.max_error_over_r = std::max(group_.max_error_over_r, WorstErrorOverRadius());
}

void KvcompGroupEncoder::WriteRaw(uint32_t head, Fallback why) {
  std::memcpy(payload(head).data(), tile(head), shape_.tile_bytes());
  out_->tiles[head] = {.mode = TileMode::kRaw, .bytes = shape_.tile_bytes()};
  ++group_.raw_tiles;
  group_.nonfinite_tiles += why == Fallback::kNonFinite;
  group_.bound_tiles += why == Fallback::kBound;
}

// The header pays only where the tiles that need it save more than it costs; else they are written raw too.
void KvcompGroupEncoder::WriteHeader() {
  const auto params = ws_.params.first(HeaderUnits(unit_, shape_.tokens));
  out_->header_bytes = 0;
  uint64_t saved = 0;
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    saved += Stored(shape_.tile_bytes()) - Stored(out_->tiles[h].bytes);
  }
  if (saved > 0 &&
      saved > Stored(kKvcompHeaderFixedBytes + ParamsBytes(params.size(), NeedWideZeros(params)))) {
    out_->header_bytes = WriteKvcompHeader(unit_, book_.num_symbols(), params, out_->header);
    return;
  }
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (out_->tiles[h].mode != TileMode::kRaw) WriteRaw(h, Fallback::kSize);
  }
  group_.max_error_over_r = 0;
}

void KvcompGroupEncoder::CountCodes() {
  for (const uint8_t code : ws_.codes) ++histogram_[code];
}

double KvcompGroupEncoder::WorstErrorOverRadius() const {
  double worst = 0;
  for (uint32_t i = 0; i < num_units_; ++i) {
    if (ws_.units.radius[i] > 0) worst = std::max(worst, ws_.units.worst[i] / ws_.units.radius[i]);
  }
  return worst;
}

}  // namespace kvcompd::codec
