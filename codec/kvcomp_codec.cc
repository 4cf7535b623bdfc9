#include "codec/kvcomp_codec.h"

#include "absl/strings/str_cat.h"
#include "codec/float_format.h"
#include "codec/kvcomp_encoder.h"
#include "codec/kvcomp_header.h"
#include "codec/kvcomp_rans.h"
#include "codec/kvcomp_workspace.h"
#include "codec/quantizer.h"
#include "codec/raw_codec.h"
#include "codec/simd/huffman_streams.h"
#include "codec/simd/kvcomp_dequantize.h"
#include "codec/simd/targets.h"
#include "codec/tile_payload.h"

namespace kvcompd::codec {
namespace {

// Fills ws->units from the header or, for channels, from the payload, and moves *payload on to the codes.
absl::Status ReadUnits(const GroupShape& shape, const KvcompHeader& header, ByteSpan* payload,
                       KvcompWorkspace* ws) {
  std::span<UnitParams> params;
  if (header.unit == QuantUnit::kChannel) {
    params = ws->params.first(shape.channels);
    size_t consumed = 0;
    if (auto s = ReadTileParams(shape.dtype, *payload, params, &consumed); !s.ok()) return s;
    *payload = payload->subspan(consumed);
  } else {
    params = ws->params.first(HeaderUnits(header.unit, shape.tokens));
    if (auto s = ReadParams(shape.dtype, header.params, header.wide_zeros, params); !s.ok()) return s;
  }
  for (size_t i = 0; i < params.size(); ++i) ws->units.SetDecode(i, shape.dtype, params[i]);
  return absl::OkStatus();
}

absl::StatusOr<const Codebook*> BookOf(const KvcompHeader& header, Coder coder, const Codebook* book) {
  if (book == nullptr) book = &BuiltInBook(header.unit, header.symbols, coder);
  if (book->coder() != coder) return absl::DataLossError("kvcomp: the tile's book is of another coder");
  const uint32_t symbols = BookSymbols(coder, header.unit, header.symbols);
  if (book->num_symbols() != symbols) {
    return absl::DataLossError(
        absl::StrCat("kvcomp: the tile has ", symbols, " symbols, its book ", book->num_symbols()));
  }
  return book;
}

// Reads the codes into the workspace and sets the place of each token's.
absl::Status ReadCodes(const GroupShape& shape, const KvcompHeader& header, TileMode mode, ByteSpan payload,
                       const Codebook* book, KvcompWorkspace* ws, TokenRows* rows) {
  for (uint32_t t = 0; t < shape.tokens; ++t) (*rows)[t] = ws->codes.data() + size_t{t} * shape.channels;
  if (mode == kKvcompPacked) {
    const auto n = static_cast<uint32_t>(ws->codes.size());
    return ReadPacked(payload, n, header.symbols, ws->codes.data());
  }
  const auto found = BookOf(header, mode == kKvcompRans ? Coder::kRans : Coder::kHuffman, book);
  if (!found.ok()) return found.status();
  if (mode == kKvcompRans) {
    const auto codes = RansCodes::Of(header.unit, shape.tokens, shape.channels, header.symbols, ws->params);
    return ReadRansCodes(codes, payload, (*found)->rans_tables(), ws->symbols.data(), ws->codes.data());
  }
  if (ScalarOnly()) return ReadHuffman(payload, shape.tokens, shape.channels, **found, ws->codes.data());
  return ReadHuffmanStreams(payload, shape.tokens, shape.channels, **found, ws->streams, rows);
}

// The scalar reference of DequantizeTile().
void Dequantize(const GroupShape& shape, const TokenRows& rows, UnitsOfRow units_of_row, uint32_t unit_step,
                const KvcompWorkspace& ws, MutableByteSpan values) {
  for (uint32_t t = 0; t < shape.tokens; ++t) {
    if (units_of_row == UnitsOfRow::kPerChannel) {
      DequantizeRow<UnitsOfRow::kPerChannel>(rows[t], shape.channels, ws.units, 0, ws.approx.data());
    } else {
      DequantizeRow<UnitsOfRow::kOne>(rows[t], shape.channels, ws.units, t * unit_step, ws.approx.data());
    }
    ValuesOfFloats(shape.dtype, ws.approx.data(), shape.channels,
                   values.data() + size_t{t} * shape.row_bytes());
  }
}

}  // namespace

uint32_t KvcompCodec::GroupHeaderBound(const GroupShape& shape) const {
  if (shape.dtype == DType::kOpaque) return 0;
  const uint32_t units = shape.tensor == Tensor::kV ? shape.tokens : 1;
  return kKvcompHeaderFixedBytes + ParamsBytes(units, true);
}

uint64_t KvcompCodec::WorkspaceBytes(const GroupShape& shape) const {
  return shape.dtype == DType::kOpaque ? 0 : KvcompWorkspace::Bytes(shape);
}

absl::Status KvcompCodec::EncodeGroup(const GroupShape& shape, const std::byte* values,
                                      uint64_t head_stride_bytes, const EncodeParams& params,
                                      MutableByteSpan workspace, GroupOutput* out, EncodeStats* stats) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (auto s = out->Validate(shape, *this); !s.ok()) return s;
  if (params.profile.codec != CodecId::kKvcomp)
    return absl::InvalidArgumentError("kvcomp: another codec's profile");
  if (auto s = params.profile.Validate(); !s.ok()) return s;
  if (shape.dtype == DType::kOpaque) return EncodeRawGroup(shape, values, head_stride_bytes, out, stats);
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("kvcomp: workspace too small");
  if (auto s = CheckFloatEnvironment(); !s.ok()) return s;

  const Coder coder = params.profile.coder;
  const uint32_t symbols = BookSymbols(params.profile, shape.tensor);
  const Codebook& book = params.book ? *params.book
                                     : BuiltInBook(UnitOf(params.profile, shape.tensor),
                                                   AlphabetSize(params.profile, shape.tensor), coder);
  if (book.coder() != coder)
    return absl::InvalidArgumentError("kvcomp: the book is of another coder than the profile's");
  if (book.num_symbols() != symbols) {
    return absl::InvalidArgumentError(
        absl::StrCat("kvcomp: the profile has ", symbols, " symbols, the book ", book.num_symbols()));
  }
  KvcompGroupEncoder(shape, values, head_stride_bytes, params.profile, book, workspace, out).Run(stats);
  return absl::OkStatus();
}

absl::Status KvcompCodec::CheckGroupHeader(const GroupShape& shape, ByteSpan header) const {
  if (header.empty()) return absl::OkStatus();
  if (shape.dtype == DType::kOpaque) return absl::DataLossError("kvcomp: opaque bytes with a group header");
  return ParseKvcompHeader(shape, header).status();
}

absl::Status KvcompCodec::DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode,
                                     ByteSpan payload, const Codebook* book, MutableByteSpan workspace,
                                     MutableByteSpan values) const {
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (values.size() != shape.tile_bytes()) return absl::InvalidArgumentError("kvcomp: size of the output");
  if (mode == TileMode::kRaw) return DecodeRawTile(payload, values);
  if (!KnowsMode(mode)) return absl::UnimplementedError("kvcomp: unknown tile mode");
  if (shape.dtype == DType::kOpaque || payload.size() >= shape.tile_bytes()) {
    return absl::DataLossError("kvcomp: the tile should be raw");
  }
  if (workspace.size() < WorkspaceBytes(shape))
    return absl::InvalidArgumentError("kvcomp: workspace too small");
  if (auto s = CheckFloatEnvironment(); !s.ok()) return s;

  const auto parsed = ParseKvcompHeader(shape, header);
  if (!parsed.ok()) return parsed.status();
  KvcompWorkspace ws = KvcompWorkspace::Carve(shape, workspace);
  if (auto s = ReadUnits(shape, *parsed, &payload, &ws); !s.ok()) return s;
  TokenRows rows;
  if (auto s = ReadCodes(shape, *parsed, mode, payload, book, &ws, &rows); !s.ok()) return s;
  const auto units_of_row = parsed->unit == QuantUnit::kChannel ? UnitsOfRow::kPerChannel : UnitsOfRow::kOne;
  const uint32_t unit_step = parsed->unit == QuantUnit::kToken ? 1 : 0;
  if (ScalarOnly()) {
    Dequantize(shape, rows, units_of_row, unit_step, ws, values);
  } else {
    const CodeTile tile{rows.data(), shape.tokens, shape.channels, parsed->symbols};
    DequantizeTile(shape.dtype, tile, units_of_row, unit_step, ws.units, values.data());
  }
  return absl::OkStatus();
}

}  // namespace kvcompd::codec
