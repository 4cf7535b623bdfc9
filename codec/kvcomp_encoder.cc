#include "codec/kvcomp_encoder.h"

#include <algorithm>
#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/float_format.h"
#include "codec/kvcomp_header.h"
#include "codec/quantizer.h"
#include "codec/simd/huffman_writer.h"
#include "codec/simd/kvcomp_quantize.h"
#include "codec/simd/targets.h"
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
      num_codes_(AlphabetSize(profile, shape.tensor)),
      book_(book),
      out_(out),
      ws_(KvcompWorkspace::Carve(shape, workspace)),
      num_units_(unit_ == QuantUnit::kChannel ? shape.channels : HeaderUnits(unit_, shape.tokens)),
      reference_(ScalarOnly()) {}

void KvcompGroupEncoder::Run(EncodeStats* stats) {
  count_codes_ = stats->histogram != nullptr;
  known_error_ = stats->max_error_over_r;
  ScanTiles();
  const bool shared_units_ok = unit_ == QuantUnit::kChannel || ChooseUnits(ws_.ranges.first(num_units_));
  for (uint32_t h = 0; h < shape_.heads; ++h) EncodeTile(h, shared_units_ok);
  WriteHeader();

  group_.tiles = shape_.heads;
  group_.raw_bytes = uint64_t{shape_.heads} * shape_.tile_bytes();
  group_.payload_bytes = out_->header_bytes;
  for (uint32_t h = 0; h < shape_.heads; ++h) group_.payload_bytes += out_->tiles[h].bytes;
  stats->Add(group_);
  if (count_codes_) {
    stats->histogram->resize(std::max<size_t>(stats->histogram->size(), kMaxSymbols));
    for (uint32_t s = 0; s < kMaxSymbols; ++s) (*stats->histogram)[s] += histogram_[s];
  }
}

void KvcompGroupEncoder::ScanTiles() {
  if (unit_ == QuantUnit::kChannel) return;  // nothing is shared: EncodeTile scans
  for (UnitRange& range : ws_.ranges.first(num_units_)) range = UnitRange{};
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    ws_.finite[h] = ScanTile(h);
    if (!ws_.finite[h]) continue;
    for (uint32_t i = 0; i < num_units_; ++i) ws_.ranges[i].Add(ws_.tile_ranges[i]);
  }
}

bool KvcompGroupEncoder::ScanTile(uint32_t head) {
  if (reference_) return ScanTileReference(head);
  UnitRange* const ranges = ws_.tile_ranges.data();
  switch (unit_) {
    case QuantUnit::kBlock:
      return RangeOfTile(shape_.dtype, tile(head), shape_.tokens, shape_.channels, ranges);
    case QuantUnit::kToken:
      return RangesOfTokens(shape_.dtype, tile(head), shape_.tokens, shape_.channels, ranges);
    case QuantUnit::kChannel:
      break;
  }
  return RangesOfChannels(shape_.dtype, tile(head), shape_.tokens, shape_.channels, ranges);
}

bool KvcompGroupEncoder::ScanTileReference(uint32_t head) {
  if (!AllFinite(shape_.dtype, tile(head), ws_.values.size())) return false;
  FloatsOfValues(shape_.dtype, tile(head), ws_.values.size(), ws_.values.data());
  for (UnitRange& range : ws_.tile_ranges.first(num_units_)) range = UnitRange{};
  for (uint32_t t = 0; t < shape_.tokens; ++t) {
    const float* const row = ws_.values.data() + size_t{t} * shape_.channels;
    if (unit_ == QuantUnit::kChannel) {
      for (uint32_t c = 0; c < shape_.channels; ++c) ws_.tile_ranges[c].Add({.min = row[c], .max = row[c]});
    } else {
      ws_.tile_ranges[unit_ == QuantUnit::kToken ? t : 0].Add(row, shape_.channels);
    }
  }
  return true;
}

bool KvcompGroupEncoder::ChooseUnits(std::span<const UnitRange> ranges) {
  for (uint32_t i = 0; i < num_units_; ++i) {
    const auto params = ChooseUnitParams(shape_.dtype, ranges[i], rel_, strict_);
    if (!params.has_value()) return false;
    ws_.params[i] = *params;
    const double radius = RadiusOf(ranges[i], rel_);
    ws_.units.SetEncode(i, shape_.dtype, *params, num_codes_, radius, strict_);
  }
  return true;
}

void KvcompGroupEncoder::EncodeTile(uint32_t head, bool shared_units_ok) {
  const bool channel = unit_ == QuantUnit::kChannel;
  if (channel) ws_.finite[head] = ScanTile(head);
  if (!ws_.finite[head]) return WriteRaw(head, Fallback::kNonFinite);
  const bool units_ok = channel ? ChooseUnits(ws_.tile_ranges.first(num_units_)) : shared_units_ok;
  if (!units_ok || !Quantize(head)) return WriteRaw(head, Fallback::kBound);
  if (book_.coder() == Coder::kRans) {
    rans_ = RansCodes::Of(unit_, shape_.tokens, shape_.channels, num_codes_, ws_.params.first(num_units_));
    SymbolsOfCodes(rans_, ws_.codes.data(), ws_.symbols.data());
  }
  if (count_codes_) CountCodes();
  WriteSmallest(head);
}

bool KvcompGroupEncoder::Quantize(uint32_t head) {
  const bool channel = unit_ == QuantUnit::kChannel;
  if (reference_) {
    return channel ? QuantizeReference<UnitsOfRow::kPerChannel>(head)
                   : QuantizeReference<UnitsOfRow::kOne>(head);
  }
  tile_error_ = std::max(known_error_, group_.max_error_over_r);
  return QuantizeTile(shape_.dtype,
                      {.values = tile(head),
                       .tokens = shape_.tokens,
                       .channels = shape_.channels,
                       .symbols = num_codes_,
                       .strict = strict_,
                       .units_of_row = channel ? UnitsOfRow::kPerChannel : UnitsOfRow::kOne,
                       .unit_step = unit_ == QuantUnit::kToken ? 1u : 0u,
                       .units = ws_.units,
                       .codes = ws_.codes.data(),
                       .decoded = ws_.decoded.data()},
                      &tile_error_);
}

template <UnitsOfRow kUnits>
bool KvcompGroupEncoder::QuantizeReference(uint32_t head) {
  const uint32_t channels = shape_.channels;
  FloatsOfValues(shape_.dtype, tile(head), ws_.values.size(), ws_.values.data());
  std::fill_n(ws_.units.worst, num_units_, 0.0);  // of this tile alone: the one before may be raw
  for (uint32_t t = 0; t < shape_.tokens; ++t) {
    const float* const x = ws_.values.data() + size_t{t} * channels;
    uint8_t* const codes = ws_.codes.data() + size_t{t} * channels;
    const size_t unit = unit_ == QuantUnit::kToken ? t : 0;
    if (!QuantizeRow<kUnits>(x, channels, ws_.units, unit, num_codes_, codes)) return false;
    DequantizeRow<kUnits>(codes, channels, ws_.units, unit, ws_.approx.data());
    RoundFloats(shape_.dtype, ws_.approx.data(), channels, ws_.rounded.data());
    ValuesOfFloats(shape_.dtype, ws_.rounded.data(), channels,
                   ws_.decoded.data() + size_t{t} * shape_.row_bytes());
    if (!CheckRow<kUnits>(shape_.dtype, x, ws_.approx.data(), ws_.rounded.data(), channels, strict_,
                          ws_.units, unit)) {
      return false;
    }
  }
  tile_error_ = WorstErrorOverRadius();
  return true;
}

// By the bytes that each mode takes in the segment, padding included; of equal ones raw, then packed.
void KvcompGroupEncoder::WriteSmallest(uint32_t head) {
  const auto n = static_cast<uint32_t>(ws_.codes.size());
  const bool channel_params = unit_ == QuantUnit::kChannel;
  const auto params = ws_.params.first(channel_params ? shape_.channels : 0);
  const uint64_t side_bytes = channel_params ? TileParamsBytes(params) : 0;
  const uint8_t* const codes = ws_.codes.data();
  const PackedPlan packed = reference_ ? PlanPacked(codes, n) : PlanPackedCodes(codes, n);
  const uint64_t raw = Stored(shape_.tile_bytes()), limit = std::min(raw, Stored(side_bytes + packed.bytes));
  if (side_bytes >= shape_.tile_bytes()) return WriteRaw(head, Fallback::kSize);

  const MutableByteSpan out = payload(head), stream = out.subspan(side_bytes);
  const bool rans = book_.coder() == Coder::kRans;
  uint64_t bytes =
      rans ? WriteRansUnder(limit, side_bytes, stream) : WriteHuffmanUnder(limit, side_bytes, stream);
  TileMode mode = rans ? kKvcompRans : kKvcompHuffman;
  if (bytes == 0) {
    if (limit == raw) return WriteRaw(head, Fallback::kSize);
    mode = kKvcompPacked;
    bytes = packed.bytes;
    WritePacked(codes, n, packed, stream.first(bytes));
  }
  if (channel_params) WriteTileParams(params, out);
  out_->tiles[head] = {
      .mode = mode, .bytes = static_cast<uint32_t>(side_bytes + bytes), .decoded_crc = Crc32c(ws_.decoded)};
  group_.max_error_over_r = std::max(group_.max_error_over_r, tile_error_);
}

uint32_t KvcompGroupEncoder::WriteHuffmanUnder(uint64_t limit, uint64_t side_bytes, MutableByteSpan out) {
  const uint8_t* const codes = ws_.codes.data();
  const HuffmanPlan plan = reference_ ? PlanHuffman(codes, shape_.tokens, shape_.channels, book_)
                                      : PlanHuffmanStreams(codes, shape_.tokens, shape_.channels, book_);
  if (Stored(side_bytes + plan.bytes) >= limit) return 0;
  const MutableByteSpan stream = out.first(plan.bytes);
  if (reference_) {
    WriteHuffman(codes, shape_.tokens, shape_.channels, book_, plan, stream);
  } else {
    WriteHuffmanStreams(codes, shape_.tokens, shape_.channels, book_, plan, ws_.streams, stream);
  }
  return static_cast<uint32_t>(plan.bytes);
}

uint32_t KvcompGroupEncoder::WriteRansUnder(uint64_t limit, uint64_t side_bytes, MutableByteSpan out) {
  const uint32_t bytes =
      WriteRansCodes(rans_, ws_.codes.data(), ws_.symbols.data(), book_.rans_tables(), ws_.words, out);
  return Stored(side_bytes + bytes) < limit ? bytes : 0;
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
    out_->header_bytes = WriteKvcompHeader(unit_, num_codes_, params, out_->header);
    return;
  }
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (out_->tiles[h].mode != TileMode::kRaw) WriteRaw(h, Fallback::kSize);
  }
  group_.max_error_over_r = 0;
}

void KvcompGroupEncoder::CountCodes() {
  const uint8_t* const counted = book_.coder() == Coder::kRans ? ws_.symbols.data() : ws_.codes.data();
  AddCounts(counted, ws_.codes.size(), histogram_.data());
}

double KvcompGroupEncoder::WorstErrorOverRadius() const {
  double worst = 0;
  for (uint32_t i = 0; i < num_units_; ++i) {
    if (ws_.units.radius[i] > 0) worst = std::max(worst, ws_.units.worst[i] / ws_.units.radius[i]);
  }
  return worst;
}

}  // namespace kvcompd::codec
