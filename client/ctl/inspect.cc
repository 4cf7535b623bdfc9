#include "client/ctl/inspect.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/kvcomp_header.h"
#include "codec/quantizer.h"

namespace kvcompd::client {
namespace {

constexpr size_t kMaxProblemsPerSegment = 16;

float ScaleOf(uint16_t upper_bits) {
  const uint32_t bits = uint32_t{upper_bits} << 16;
  float scale = 0;
  std::memcpy(&scale, &bits, sizeof scale);
  return scale;
}

std::string UnitName(codec::QuantUnit unit) {
  switch (unit) {
    case codec::QuantUnit::kBlock:
      return "block";
    case codec::QuantUnit::kChannel:
      return "channel";
    case codec::QuantUnit::kToken:
      return "token";
  }
  return "";
}

class Inspector {
 public:
  Inspector(ByteSpan container, const codec::CodebookSet* codebooks)
      : bytes_(container), codebooks_(codebooks) {
    report_.bytes = container.size();
  }

  InspectReport Run() && {
    ReadHeader();
    FindParts();
    for (const codec::SegmentExtent& extent : extents_) ReadSegment(extent);
    ReadWhole();
    return std::move(report_);
  }

 private:
  void Problem(std::string where, uint64_t offset, absl::Status status) {
    report_.problems.push_back({std::move(where), offset, std::move(status)});
  }

  void ReadHeader() {
    report_.header = BlockHeaderFields(bytes_, 0);
    size_t header_bytes = 0;
    absl::StatusOr<codec::BlockHeader> header = codec::ParseBlockHeader(bytes_, &header_bytes);
    if (!header.ok()) {
      Problem("block header", 0, header.status());
      // The size may still be right; it is all that the search for segments needs.
      header_end_ = U32At(bytes_, 4) >> 16;
      return;
    }
    header_end_ = header_bytes;
    ChooseBooks(*header);
    report_.block = *std::move(header);
  }

  void ChooseBooks(const codec::BlockHeader& header) {
    if (header.codebook_set.IsZero()) {
      can_decode_ = true;
    } else if (codebooks_ != nullptr && codebooks_->id() == header.codebook_set) {
      can_decode_ = true;
    } else if (codebooks_ != nullptr) {
      Problem(
          "block header", 144,
          absl::FailedPreconditionError(absl::StrCat("the codebook set given is ", codebooks_->id().Hex(),
                                                     ", the container names ", header.codebook_set.Hex())));
    }
  }

  // Segments are where a sound footer says, else where each one says that the next begins.
  void FindParts() {
    const std::optional<FooterPlace> footer = FindFooter(bytes_);
    if (!footer.has_value()) {
      Problem("footer", bytes_.size(),
              absl::DataLossError("the bytes do not end with a footer: cut short, or no container"));
    } else {
      report_.footer_offset = footer->offset;
      report_.footer = FooterFields(bytes_.subspan(footer->offset), footer->offset);
      if (!footer->crc_ok) Problem("footer", footer->offset, absl::DataLossError("its CRC does not match"));
    }
    if (footer.has_value() && footer->crc_ok) {
      const ByteSpan part = bytes_.subspan(footer->offset);
      const uint64_t room = (footer->bytes - 52) / 16;
      for (uint64_t i = 0; i < std::min<uint64_t>(U32At(part, 4), room); ++i) {
        extents_.push_back({U64At(part, 40 + 16 * i), U64At(part, 48 + 16 * i)});
      }
      return;
    }
    const uint64_t end = footer.has_value() ? footer->offset : bytes_.size();
    for (uint64_t at = header_end_; at + 64 <= end;) {
      const absl::StatusOr<uint64_t> size = codec::SegmentView::SegmentBytes(bytes_.subspan(at, 64));
      if (!size.ok() || *size == 0) {
        Problem(absl::StrCat("segment ", extents_.size()), at,
                size.ok() ? absl::DataLossError("its size is 0") : size.status());
        return;
      }
      extents_.push_back({at, std::min(*size, end - at)});
      at += extents_.back().bytes;
    }
  }

  void ReadSegment(const codec::SegmentExtent& extent) {
    InspectSegment segment{.offset = extent.offset, .bytes = extent.bytes};
    const std::string number = absl::StrCat("segment ", report_.segments.size());
    if (extent.offset > bytes_.size() || extent.bytes > bytes_.size() - extent.offset) {
      Problem(number, extent.offset, absl::DataLossError("the footer places it outside the file"));
      report_.segments.push_back(std::move(segment));
      return;
    }
    const ByteSpan bytes = bytes_.subspan(extent.offset, extent.bytes);
    segment.fields = SegmentHeaderFields(bytes, extent.offset);
    const absl::StatusOr<codec::SegmentView> view = codec::SegmentView::Parse(bytes);
    if (!view.ok()) {
      Problem(number, extent.offset, view.status());
      report_.segments.push_back(std::move(segment));
      return;
    }
    DescribeSegment(*view, &segment);
    const std::string where =
        absl::StrCat(number, " (layer ", segment.layer, " ", ToAbsl(TensorName(segment.tensor)), ")");
    if (report_.block.has_value()) VerifySegment(*view, where, &segment);
    report_.segments.push_back(std::move(segment));
  }

  void DescribeSegment(const codec::SegmentView& view, InspectSegment* segment) {
    segment->parsed = true;
    segment->shape = view.shape();
    segment->layer = view.layer();
    segment->tensor = view.shape().tensor;
    segment->codec = CodecName(view.codec_id());
    segment->mode_names = codec::FindCodec(view.codec_id())->mode_names();  // Parse takes no other codec
    segment->tile_modes.resize(segment->mode_names.size());
    for (uint32_t g = 0; g < view.shape().groups(); ++g) {
      segment->groups.push_back(DescribeGroup(view, g, segment->offset));
      segment->payload_bytes += segment->groups.back().header_bytes;
    }
    for (uint32_t head = 0; head < view.shape().heads; ++head) {
      for (uint32_t g = 0; g < view.shape().groups(); ++g) {
        const codec::TileEntry entry = view.tile(head, g);
        segment->tiles.push_back({head, g, segment->offset + entry.offset, entry});
        segment->payload_bytes += entry.bytes;
        const auto mode = static_cast<size_t>(entry.mode);
        if (mode < segment->tile_modes.size()) ++segment->tile_modes[mode];
      }
    }
  }

  static InspectGroup DescribeGroup(const codec::SegmentView& view, uint32_t g, uint64_t segment_offset) {
    const codec::GroupEntry entry = view.group(g);
    InspectGroup group{.offset = segment_offset + entry.offset, .header_bytes = entry.bytes};
    if (view.codec_id() != CodecId::kKvcomp || entry.bytes == 0) return group;
    const auto header = codec::ParseKvcompHeader(view.shape().group(g), view.group_header(g));
    if (!header.ok()) return group;  // Decode says it
    group.unit = UnitName(header->unit);
    group.symbols = header->symbols;
    std::vector<codec::UnitParams> params(codec::HeaderUnits(header->unit, view.shape().group_tokens(g)));
    if (params.empty()) return group;
    if (!codec::ReadParams(view.shape().dtype, header->params, header->wide_zeros, params).ok()) return group;
    const auto [low, high] = std::minmax_element(
        params.begin(), params.end(), [](const auto& a, const auto& b) { return a.scale < b.scale; });
    group.scales = static_cast<uint32_t>(params.size());
    group.min_scale = ScaleOf(low->scale);  // positive, so ordered as their bits
    group.max_scale = ScaleOf(high->scale);
    return group;
  }

  void VerifySegment(const codec::SegmentView& view, const std::string& where, InspectSegment* segment) {
    const codec::BlockHeader& header = *report_.block;
    const auto layer = std::find(header.layers.begin(), header.layers.end(), view.layer());
    if (layer == header.layers.end()) {
      Problem(where, segment->offset, absl::DataLossError("the block header does not list this layer"));
      return;
    }
    const codec::SegmentPlace place =
        header.place(static_cast<uint32_t>(layer - header.layers.begin()), view.shape().tensor);
    const auto book =
        codec::FindBook(header.codebook_set, can_decode_ ? codebooks_ : nullptr, place.layer, place.tensor);
    if (can_decode_ && !book.ok()) {
      Problem(where, segment->offset, book.status());
      return;
    }
    std::vector<std::byte> values(view.shape().raw_bytes() / view.shape().heads);
    size_t failed = 0;
    for (uint32_t head = 0; head < view.shape().heads; ++head) {
      const absl::Status status =
          can_decode_ ? view.Decode(place, head, 1, *book, &workspace_, values) : view.Verify(place, head, 1);
      if (status.ok() || ++failed > kMaxProblemsPerSegment) continue;
      Problem(absl::StrCat(where, ", head ", view.shape().head_begin + head),
              segment->tiles[head * view.shape().groups()].offset, status);
    }
    segment->checksums_ok = failed == 0;
    segment->decoded = failed == 0 && can_decode_;
  }

  // What only the whole shows: that the parts belong together and nothing is between them.
  void ReadWhole() {
    if (!report_.ok()) return;
    const absl::StatusOr<codec::ContainerView> view = codec::ContainerView::Parse(bytes_);
    const absl::Status status = view.ok() ? view->VerifyAll() : view.status();
    if (!status.ok()) Problem("container", 0, status);
  }

  const ByteSpan bytes_;
  const codec::CodebookSet* codebooks_;
  bool can_decode_ = false;
  uint64_t header_end_ = 0;
  std::vector<codec::SegmentExtent> extents_;
  codec::Workspace workspace_;
  InspectReport report_;
};

Json FieldsJson(const std::vector<InspectField>& fields) {
  Json out = Json::array();
  for (const InspectField& field : fields) {
    Json json = {
        {"offset", field.offset}, {"bytes", field.bytes}, {"name", field.name}, {"value", field.value}};
    if (!field.note.empty()) json["note"] = field.note;
    out.push_back(std::move(json));
  }
  return out;
}

Json GroupJson(const InspectGroup& group) {
  Json json = {{"offset", group.offset}, {"header_bytes", group.header_bytes}};
  if (!group.unit.empty()) {
    json["unit"] = group.unit;
    json["symbols"] = group.symbols;
  }
  if (group.scales > 0) {
    json["scales"] = group.scales;
    json["min_scale"] = group.min_scale;
    json["max_scale"] = group.max_scale;
  }
  return json;
}

Json SegmentJson(const InspectSegment& segment, bool with_tiles) {
  Json json = {{"offset", segment.offset}, {"bytes", segment.bytes}, {"fields", FieldsJson(segment.fields)}};
  json["sound"] = segment.parsed;
  if (!segment.parsed) return json;
  json["layer"] = segment.layer;
  json["tensor"] = std::string(TensorName(segment.tensor));
  json["codec"] = segment.codec;
  json["heads"] = segment.shape.heads;
  json["tokens"] = segment.shape.tokens;
  json["channels"] = segment.shape.channels;
  json["raw_bytes"] = segment.shape.raw_bytes();
  json["payload_bytes"] = segment.payload_bytes;
  for (size_t mode = 0; mode < segment.tile_modes.size(); ++mode) {
    json["tile_modes"][std::string(segment.mode_names[mode])] = segment.tile_modes[mode];
  }
  json["checksums_ok"] = segment.checksums_ok;
  json["decoded"] = segment.decoded;
  json["groups"] = Json::array();
  for (const InspectGroup& group : segment.groups) json["groups"].push_back(GroupJson(group));
  if (!with_tiles) return json;
  json["tiles"] = Json::array();
  for (const InspectTile& tile : segment.tiles) {
    json["tiles"].push_back({{"head", tile.head},
                             {"group", tile.group},
                             {"offset", tile.offset},
                             {"bytes", tile.entry.bytes},
                             {"mode", static_cast<uint32_t>(tile.entry.mode)},
                             {"encoded_crc", tile.entry.encoded_crc},
                             {"decoded_crc", tile.entry.decoded_crc}});
  }
  return json;
}

}  // namespace

uint64_t InspectReport::raw_bytes() const {
  uint64_t sum = 0;
  for (const InspectSegment& segment : segments) sum += segment.parsed ? segment.shape.raw_bytes() : 0;
  return sum;
}

uint64_t InspectReport::payload_bytes() const {
  uint64_t sum = 0;
  for (const InspectSegment& segment : segments) sum += segment.payload_bytes;
  return sum;
}

InspectReport InspectContainer(ByteSpan container, const codec::CodebookSet* codebooks) {
  return Inspector(container, codebooks).Run();
}

Json InspectJson(const InspectReport& report, bool with_tiles) {
  Json json = {{"ok", report.ok()},
               {"bytes", report.bytes},
               {"raw_bytes", report.raw_bytes()},
               {"payload_bytes", report.payload_bytes()}};
  json["header"] = FieldsJson(report.header);
  json["segments"] = Json::array();
  for (const InspectSegment& segment : report.segments)
    json["segments"].push_back(SegmentJson(segment, with_tiles));
  json["footer"] = {{"offset", report.footer_offset}, {"fields", FieldsJson(report.footer)}};
  json["problems"] = Json::array();
  for (const InspectProblem& problem : report.problems) {
    json["problems"].push_back({{"where", problem.where},
                                {"offset", problem.offset},
                                {"code", std::string(absl::StatusCodeToString(problem.status.code()))},
                                {"message", std::string(problem.status.message())}});
  }
  return json;
}

}  // namespace kvcompd::client
