#include "codec/packkv_encoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/base/byte_io.h"
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
  if (count > 0) {
    Plan plan;
    MakePlan(IdentityOrder(), &plan);
    if (profile_.repack != Repack::kNone) {
      const GroupCodes group{ws_.tiles.first(count), shape_.tokens, static_cast<uint32_t>(stride_),
                             shape_.channels};
      Plan moved;
      MakePlan(profile_.repack == Repack::kMedian ? MedianOrder(group)
                                                  : GreedyOrder(group, grid_.pack, ws_.greedy),
               &moved);
      // An order has to pay for itself.
      if (moved.stored_bytes < plan.stored_bytes) {
        plan = moved;
      } else {
        MakePlan(IdentityOrder(), &plan);  // its entries again
      }
    }
    const PackkvHeader header{
        .pack = grid_.pack, .symbols = symbols_, .classes = plan.classes.classes, .order = plan.order};
    const auto params = ws_.params.first(shape_.tokens);
    uint64_t saved = 0;
    for (uint32_t h = 0; h < shape_.heads; ++h) {
      if (ws_.usable[h])
        saved +=
            Stored(shape_.tile_bytes()) - std::min(Stored(shape_.tile_bytes()), Stored(TileBytes(plan, h)));
    }
    const bool pays = saved > Stored(PackkvHeaderBytes(header, params));
    if (pays) out_->header_bytes = WritePackkvHeader(header, params, out_->header);
    for (uint32_t h = 0; h < shape_.heads; ++h) {
      if (!ws_.usable[h]) continue;
      const uint64_t bytes = TileBytes(plan, h);
      if (!pays || Stored(bytes) >= Stored(shape_.tile_bytes())) {
        WriteRaw(h, Fallback::kSize);
      } else {
        WriteTile(plan, h, bytes);
      }
    }
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
    bool bounded = true;
    for (uint32_t t = 0; t < shape_.tokens && bounded; ++t) {
      const TokenUnit unit{ws_.units.divisor[t], ws_.units.zero[t], ws_.units.step[t], ws_.units.base[t],
                           ws_.units.limit[t]};
      uint8_t* const row = codes(h) + t * stride_;
      double& worst = ws_.worst[uint64_t{h} * kTileTokens + t];
      worst = 0;
      bounded = QuantizeToken(shape_.dtype, tile(h) + uint64_t{t} * shape_.row_bytes(), shape_.channels, unit,
                              symbols_, row, &worst);
      std::fill(row + shape_.channels, row + stride_, uint8_t{0});
    }
    if (bounded) continue;
    ws_.usable[h] = 0;
    WriteRaw(h, Fallback::kBound);
  }
}

uint32_t PackkvGroupEncoder::RowsOf(uint32_t head, uint32_t row, const TokenOrder& order,
                                    const uint8_t** rows) const {
  const uint32_t count = grid_.row_tokens(row);
  for (uint32_t i = 0; i < count; ++i)
    rows[i] = codes(head) + uint64_t{order[row * grid_.pack + i]} * stride_;
  return count;
}

void PackkvGroupEncoder::MakePlan(const TokenOrder& order, Plan* plan) {
  plan->order = order;
  PackHistogram histogram(symbols_);
  const uint8_t* rows[kTileTokens];
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) continue;
    for (uint32_t r = 0; r < grid_.rows(); ++r) {
      const uint32_t tokens = RowsOf(h, r, order, rows);
      ExtremesOfRows(rows, tokens, stride_, ws_.low.data(), ws_.high.data());
      uint16_t* const row_entries = entries(h, r);
      for (uint32_t c = 0; c < shape_.channels; ++c) {
        const uint32_t entry = histogram.Entry(ws_.low[c], ws_.high[c]);
        row_entries[c] = static_cast<uint16_t>(entry);
        histogram.Add(entry, tokens);
      }
    }
  }
  plan->classes = ChoosePackClasses(histogram);
  const PackkvHeader header{
      .pack = grid_.pack, .symbols = symbols_, .classes = plan->classes.classes, .order = order};
  plan->stored_bytes = Stored(PackkvHeaderBytes(header, ws_.params.first(shape_.tokens)));
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    if (!ws_.usable[h]) continue;
    plan->stored_bytes += std::min(Stored(shape_.tile_bytes()), Stored(TileBytes(*plan, h)));
  }
}

void PackkvGroupEncoder::ClassesOfRow(const Plan& plan, uint32_t head, uint32_t row) {
  const uint16_t* const row_entries = entries(head, row);
  for (uint32_t c = 0; c < shape_.channels; ++c)
    ws_.class_of[c] = plan.classes.class_of_entry[row_entries[c]];
  std::fill(ws_.class_of.begin() + shape_.channels, ws_.class_of.end(), uint8_t{0});
}

uint64_t PackkvGroupEncoder::TileBytes(const Plan& plan, uint32_t head) {
  const PackClasses& classes = plan.classes.classes;
  uint64_t bytes = grid_.rows() * BytesOfBits(uint64_t{shape_.channels} * classes.index_bits());
  for (uint32_t r = 0; r < grid_.rows(); ++r) {
    ClassesOfRow(plan, head, r);
    for (uint32_t at = 0; at < grid_.row_tokens(r); at += grid_.strip) {
      const StripFormat format(classes, std::min(grid_.strip, grid_.row_tokens(r) - at),
                               grid_.alignment_bits());
      bytes += BytesOfBits(StripBits(format, ws_.class_of.data(), shape_.channels));
    }
  }
  return bytes;
}

void PackkvGroupEncoder::WriteTile(const Plan& plan, uint32_t head, uint64_t bytes) {
  const PackClasses& classes = plan.classes.classes;
  const uint64_t index_bytes = BytesOfBits(uint64_t{shape_.channels} * classes.index_bits());
  std::byte* index = ws_.payload.data();
  std::byte* strip = index + grid_.rows() * index_bytes;
  const uint8_t* rows[kTileTokens];
  for (uint32_t r = 0; r < grid_.rows(); ++r) {
    ClassesOfRow(plan, head, r);
    PackClassNumbers(ws_.class_of.data(), classes.index_bits(), shape_.channels, index);
    index += index_bytes;
    const uint32_t tokens = RowsOf(head, r, plan.order, rows);
    for (uint32_t at = 0; at < tokens; at += grid_.strip) {
      const StripFormat format(classes, std::min(grid_.strip, tokens - at), grid_.alignment_bits());
      // A kernel takes the rows of a whole strip.
      const uint8_t* strip_rows[kStripTokens];
      for (uint32_t i = 0; i < kStripTokens; ++i) strip_rows[i] = rows[std::min(at + i, tokens - 1)];
      PackStrip(format, ws_.class_of.data(), shape_.channels, strip_rows, ws_.fields.data(), strip);
      strip += BytesOfBits(StripBits(format, ws_.class_of.data(), shape_.channels));
    }
  }
  std::memcpy(out_->payload.data() + uint64_t{head} * out_->payload_stride, ws_.payload.data(), bytes);
  out_->tiles[head] = {.mode = kPackkvPacked, .bytes = static_cast<uint32_t>(bytes)};
  group_.max_error_over_r = std::max(group_.max_error_over_r, WorstErrorOverRadius(head));
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
