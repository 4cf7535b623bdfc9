#include "codec/packkv_encoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/base/byte_io.h"
#include "codec/base/crc32c.h"
#include "codec/codebook.h"
#include "codec/simd/code_rows.h"
#include "codec/simd/strip_bits.h"
#include "codec/simd/token_rows.h"

namespace kvcompd::codec {
namespace {

// Bytes of a payload or group header in its segment, with the padding to the next one.
constexpr uint64_t Stored(uint64_t bytes) { return AlignUp(bytes, kPayloadAlignment); }

uint64_t BytesOfBits(uint64_t bits) { return (bits + 7) / 8; }

}  // namespace

PackkvGroupEncoder::Strips::Strips(const PackClasses& classes, const PackGrid& grid)
    : full(classes, grid.strip, grid.alignment_bits()),
      last(classes, (grid.tokens - 1) % grid.strip + 1, grid.alignment_bits()) {}

PackkvGroupEncoder::PackkvGroupEncoder(const GroupShape& shape, const std::byte* values,
                                       uint64_t head_stride_bytes, const Profile& profile,
                                       MutableByteSpan workspace, GroupOutput* out)
    : shape_(shape),
      values_(values),
      head_stride_(head_stride_bytes),
      profile_(profile),
      rel_(profile.rel(shape.tensor)),
      symbols_(AlphabetSize(rel_, /*strict=*/false)),
      grid_(shape.tokens, profile.pack),
      stride_(StripStride(shape.channels)),
      out_(out),
      ws_(PackkvWorkspace::Carve(shape, workspace)) {}

void PackkvGroupEncoder::Run(EncodeStats* stats) {
  const bool units_ok = ChooseUnits();
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) {
      WriteRaw(h, Fallback::kNonFinite);
    } else if (!units_ok) {
      ws_.usable[h] = 0;
      WriteRaw(h, Fallback::kBound);
    }
  }
  if (units_ok) QuantizeTiles();

  size_t count = 0;
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (ws_.usable[h]) ws_.tiles[count++] = codes(h);
  }
  out_->header_bytes = 0;
  ws_.tiles = ws_.tiles.first(count);
  if (count > 0) {
    Plan plan;
    ChoosePlan(&plan);
    WriteTiles(plan);
  }
  group_.tiles = shape_.heads;
  group_.raw_bytes = uint64_t{shape_.heads} * shape_.tile_bytes();
  group_.payload_bytes = out_->header_bytes;
  for (uint32_t h = 0; h < shape_.heads; ++h) group_.payload_bytes += out_->tiles[h].bytes;
  stats->Add(group_);
}

bool PackkvGroupEncoder::ChooseUnits() {
  std::array<UnitRange, kTileTokens> ranges{};
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    ws_.usable[h] = RangesOfTokens(shape_.dtype, tile(h), shape_.tokens, shape_.channels, ws_.ranges.data());
    if (!ws_.usable[h]) continue;
    for (uint32_t t = 0; t < shape_.tokens; ++t) ranges[t].Add(ws_.ranges[t]);
  }
  for (uint32_t t = 0; t < shape_.tokens; ++t) {
    const auto params = ChooseUnitParams(shape_.dtype, ranges[t], rel_, /*strict=*/false);
    if (!params.has_value()) return false;
    ws_.params[t] = *params;
    ws_.units.SetEncode(t, shape_.dtype, *params, symbols_, RadiusOf(ranges[t], rel_), /*strict=*/false);
  }
  return true;
}

void PackkvGroupEncoder::QuantizeTiles() {
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) continue;
    if (QuantizeTokens(shape_.dtype, tile(h), shape_.tokens, shape_.channels, ws_.units, symbols_, codes(h),
                       stride_, ws_.worst.data() + uint64_t{h} * kTileTokens)) {
      continue;
    }
    ws_.usable[h] = 0;
    WriteRaw(h, Fallback::kBound);
  }
}

void PackkvGroupEncoder::ChoosePlan(Plan* plan) {
  MakePlan(IdentityOrder(), plan);
  if (profile_.repack == Repack::kNone) return;
  const GroupCodes group{ws_.tiles, shape_.tokens, static_cast<uint32_t>(stride_), shape_.channels};
  Plan moved;
  MakePlan(
      profile_.repack == Repack::kMedian ? MedianOrder(group) : GreedyOrder(group, grid_.pack, ws_.greedy),
      &moved);
  // An order has to pay for itself.
  if (moved.stored_bytes < plan->stored_bytes) {
    *plan = moved;
  } else {
    MakePlan(IdentityOrder(), plan);  // its classes again
  }
}

void PackkvGroupEncoder::WriteTiles(const Plan& plan) {
  const uint64_t raw = Stored(shape_.tile_bytes());
  const PackkvHeader header{
      .pack = grid_.pack, .symbols = symbols_, .classes = plan.classes.classes, .order = plan.order};
  const auto params = ws_.params.first(shape_.tokens);
  uint64_t saved = 0;
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (ws_.usable[h]) saved += raw - std::min(raw, Stored(ws_.tile_bytes[h]));
  }
  const bool pays = saved > Stored(PackkvHeaderBytes(header, params));
  if (pays) out_->header_bytes = WritePackkvHeader(header, params, out_->header);
  const Strips strips(plan.classes.classes, grid_);
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) continue;
    if (!pays || Stored(ws_.tile_bytes[h]) >= raw) {
      WriteRaw(h, Fallback::kSize);
    } else {
      WriteTile(plan, strips, h);
    }
  }
}

uint32_t PackkvGroupEncoder::RowsOf(uint32_t head, uint32_t row, const TokenOrder& order,
                                    const uint8_t** rows) const {
  const uint32_t count = grid_.row_tokens(row);
  for (uint32_t i = 0; i < count; ++i)
    rows[i] = codes(head) + uint64_t{order[row * grid_.pack + i]} * stride_;
  return count;
}

PackHistogram PackkvGroupEncoder::CountPacks(const TokenOrder& order) {
  PackHistogram histogram(symbols_);
  const uint8_t* rows[kTileTokens];
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) continue;
    for (uint32_t r = 0; r < grid_.rows(); ++r) {
      const uint32_t tokens = RowsOf(h, r, order, rows);
      ExtremesOfRows(rows, tokens, stride_, ws_.low.data(), ws_.high.data());
      uint16_t* const row_entries = entries(h, r);
      for (uint32_t c = 0; c < shape_.channels; ++c) {
        row_entries[c] = static_cast<uint16_t>(histogram.Entry(ws_.low[c], ws_.high[c]));
      }
      histogram.Add(row_entries, shape_.channels, tokens);
    }
  }
  return histogram;
}

void PackkvGroupEncoder::MakePlan(const TokenOrder& order, Plan* plan) {
  plan->order = order;
  plan->classes = ChoosePackClasses(CountPacks(order));
  const PackkvHeader header{
      .pack = grid_.pack, .symbols = symbols_, .classes = plan->classes.classes, .order = order};
  const Strips strips(plan->classes.classes, grid_);
  plan->stored_bytes = Stored(PackkvHeaderBytes(header, ws_.params.first(shape_.tokens)));
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) continue;
    ws_.tile_bytes[h] = ChooseClasses(plan->classes, strips, h);
    plan->stored_bytes += std::min(Stored(shape_.tile_bytes()), Stored(ws_.tile_bytes[h]));
  }
}

uint32_t PackkvGroupEncoder::ChooseClasses(const PackClassChoice& choice, const Strips& strips,
                                           uint32_t head) {
  uint64_t bytes = grid_.rows() * BytesOfBits(uint64_t{shape_.channels} * choice.classes.index_bits());
  for (uint32_t r = 0; r < grid_.rows(); ++r) {
    const uint16_t* const from = entries(head, r);
    uint8_t* const of = classes(head, r);
    for (uint32_t c = 0; c < shape_.channels; ++c) of[c] = choice.class_of_entry[from[c]];
    std::fill(of + shape_.channels, of + stride_, uint8_t{0});
    const uint32_t tokens = grid_.row_tokens(r), whole = tokens / grid_.strip;
    if (whole > 0) bytes += whole * BytesOfBits(StripBits(strips.full, of, shape_.channels));
    if (tokens % grid_.strip != 0) bytes += BytesOfBits(StripBits(strips.last, of, shape_.channels));
  }
  return static_cast<uint32_t>(bytes);
}

void PackkvGroupEncoder::WriteTile(const Plan& plan, const Strips& strips, uint32_t head) {
  const PackClasses& all = plan.classes.classes;
  const uint64_t index_bytes = BytesOfBits(uint64_t{shape_.channels} * all.index_bits());
  std::byte* index = ws_.payload.data();
  std::byte* strip = index + grid_.rows() * index_bytes;
  const uint8_t* rows[kTileTokens];
  for (uint32_t r = 0; r < grid_.rows(); ++r) {
    const uint8_t* const class_of = classes(head, r);
    PackClassNumbers(class_of, all.index_bits(), shape_.channels, index);
    index += index_bytes;
    const uint32_t tokens = RowsOf(head, r, plan.order, rows);
    for (uint32_t at = 0; at < tokens; at += grid_.strip) {
      const StripFormat& format = tokens - at >= grid_.strip ? strips.full : strips.last;
      PackStrip(format, class_of, shape_.channels, rows + at, ws_.fields.data(), strip);
      strip += BytesOfBits(StripBits(format, class_of, shape_.channels));
    }
  }
  const auto bytes = static_cast<uint32_t>(strip - ws_.payload.data());
  std::memcpy(out_->payload.data() + uint64_t{head} * out_->payload_stride, ws_.payload.data(), bytes);
  out_->tiles[head] = {.mode = kPackkvPacked, .bytes = bytes, .decoded_crc = DecodedCrc(head)};
  group_.max_error_over_r = std::max(group_.max_error_over_r, WorstErrorOverRadius(head));
}

uint32_t PackkvGroupEncoder::DecodedCrc(uint32_t head) {
  const MutableByteSpan values = ws_.payload.first(shape_.tile_bytes());
  const TokenOrder order = IdentityOrder();
  DequantizeTokens(shape_.dtype, codes(head), stride_, shape_.channels, order.data(), shape_.tokens,
                   ws_.units, symbols_, values.data());
  return Crc32c(values);
}

void PackkvGroupEncoder::WriteRaw(uint32_t head, Fallback why) {
  std::memcpy(out_->payload.data() + uint64_t{head} * out_->payload_stride, tile(head), shape_.tile_bytes());
  out_->tiles[head] = {.mode = TileMode::kRaw, .bytes = shape_.tile_bytes()};
  ++group_.raw_tiles;
  group_.nonfinite_tiles += why == Fallback::kNonFinite;
  group_.bound_tiles += why == Fallback::kBound;
}

double PackkvGroupEncoder::WorstErrorOverRadius(uint32_t head) const {
  double worst = 0;
  for (uint32_t t = 0; t < shape_.tokens; ++t) {
    const double radius = ws_.units.radius[t];
    if (radius > 0) worst = std::max(worst, ws_.worst[uint64_t{head} * kTileTokens + t] / radius);
  }
  return worst;
}

}  // namespace kvcompd::codec
