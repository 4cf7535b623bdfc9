#include "client/ctl/inspect_command.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/inspect.h"
#include "client/ctl/table.h"
#include "client/npy.h"
#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/container.h"

namespace kvcompd::client {
namespace {

void PrintFields(const std::vector<InspectField>& fields, std::ostream& out) {
  TextTable table({">offset", ">bytes", "field", "value", ""});
  for (const InspectField& field : fields) {
    const std::string value = field.value.is_string() ? field.value.get<std::string>() : field.value.dump();
    table.AddRow({absl::StrCat(field.offset), absl::StrCat(field.bytes), field.name, value, field.note});
  }
  table.Print(out);
}

std::string StateOf(const InspectSegment& segment) {
  if (!segment.parsed) return "damaged";
  if (!segment.checksums_ok) return "bad or unchecked tiles";
  return segment.decoded ? "decodes" : "CRCs match";
}

std::string UnitsOf(const InspectSegment& segment) {
  if (segment.groups.empty() || segment.groups[0].unit.empty()) return "";
  const InspectGroup& group = segment.groups[0];
  std::string text = absl::StrCat(group.unit, ", ", group.symbols, " symbols");
  if (group.scales == 1) absl::StrAppendFormat(&text, ", step %.4g", group.min_scale);
  if (group.scales > 1)
    absl::StrAppendFormat(&text, ", steps %.3g to %.3g", group.min_scale, group.max_scale);
  return text;
}

void PrintSegments(const InspectReport& report, std::ostream& out) {
  TextTable table({">segment", ">offset", ">bytes", ">layer", "", "codec", ">heads", ">tokens", ">channels",
                   ">ratio", "tiles raw/huffman/packed", "units of the first group", "state"});
  for (size_t i = 0; i < report.segments.size(); ++i) {
    const InspectSegment& s = report.segments[i];
    if (!s.parsed) {
      table.AddRow({absl::StrCat(i), absl::StrCat(s.offset), absl::StrCat(s.bytes), "", "", "", "", "", "",
                    "", "", "", StateOf(s)});
      continue;
    }
    table.AddRow({absl::StrCat(i), absl::StrCat(s.offset), absl::StrCat(s.bytes), absl::StrCat(s.layer),
                  std::string(TensorName(s.tensor)), s.codec, absl::StrCat(s.shape.heads),
                  absl::StrCat(s.shape.tokens), absl::StrCat(s.shape.channels),
                  RatioText(static_cast<double>(s.shape.raw_bytes()), static_cast<double>(s.payload_bytes)),
                  absl::StrCat(s.tile_modes[0], "/", s.tile_modes[1], "/", s.tile_modes[2]), UnitsOf(s),
                  StateOf(s)});
  }
  table.Print(out);
}

void PrintTiles(const InspectSegment& segment, std::ostream& out) {
  static constexpr const char* kModes[] = {"raw", "huffman", "packed"};
  TextTable table({">head", ">group", ">offset", ">bytes", "mode", "encoded_crc", "decoded_crc"});
  for (const InspectTile& tile : segment.tiles) {
    const auto mode = static_cast<size_t>(tile.entry.mode);
    table.AddRow({absl::StrCat(segment.shape.head_begin + tile.head), absl::StrCat(tile.group),
                  absl::StrCat(tile.offset), absl::StrCat(tile.entry.bytes),
                  mode < std::size(kModes) ? kModes[mode] : absl::StrCat(mode),
                  absl::StrFormat("%08x", tile.entry.encoded_crc),
                  absl::StrFormat("%08x", tile.entry.decoded_crc)});
  }
  table.Print(out);
}

void PrintReport(const InspectReport& report, bool with_tiles, std::ostream& out) {
  out << "block header\n";
  PrintFields(report.header, out);
  out << "\nsegments\n";
  PrintSegments(report, out);
  if (with_tiles) {
    for (size_t i = 0; i < report.segments.size(); ++i) {
      out << "\nsegment " << i << ": header\n";
      PrintFields(report.segments[i].fields, out);
      out << "\nsegment " << i << ": tiles\n";
      PrintTiles(report.segments[i], out);
    }
  }
  out << "\nfooter\n";
  PrintFields(report.footer, out);
  const auto raw = static_cast<double>(report.raw_bytes());
  out << "\n"
      << report.bytes << " bytes for " << report.raw_bytes() << " of values: ratio "
      << RatioText(raw, static_cast<double>(report.payload_bytes())) << " codec only, "
      << RatioText(raw, static_cast<double>(report.bytes)) << " with header, index and footer\n";
  for (const InspectProblem& problem : report.problems) {
    out << "PROBLEM at byte " << problem.offset << ", " << problem.where << ": " << problem.status.message()
        << "\n";
  }
  if (report.ok()) out << "no problem found\n";
}

absl::Status Inspect(const CommandContext& context) {
  const std::string& path = context.args.positionals()[0];
  const auto bytes = ReadFileBytes(path, codec::kMaxContainerBytes);
  if (!bytes.ok()) return bytes.status();
  std::shared_ptr<const codec::CodebookSet> books;
  if (context.args.Has("codebooks")) {
    const auto file = ReadFileBytes(context.args.Text("codebooks"), codec::CodebookSet::kMaxBytes);
    if (!file.ok()) return file.status();
    auto parsed = codec::CodebookSet::Parse(AsChars(*file));
    if (!parsed.ok()) return parsed.status();
    books = *std::move(parsed);
  }
  const InspectReport report = InspectContainer(*bytes, books.get());
  const bool with_tiles = context.args.Switch("tiles");
  if (context.args.Switch("json")) {
    PrintJson(InspectJson(report, with_tiles), context.out);
  } else {
    PrintReport(report, with_tiles, context.out);
  }
  if (report.ok()) return absl::OkStatus();
  const InspectProblem& first = report.problems.front();
  return absl::Status(first.status.code(),
                      absl::StrCat(path, ": ", report.problems.size(), " problems; the first at byte ",
                                   first.offset, ", ", first.where, ": ", first.status.message()));
}

}  // namespace

Command InspectCommand() {
  return {
      .name = "inspect",
      .operands = "FILE.kvcb",
      .help = "explains an encoded file field by field and verifies it (`get --container` writes such files)",
      .flags = WithOutputFlags(
          {{"codebooks", "FILE.kvcs", "the codebook set that the file names, to decode it, too"},
           {"tiles", "", "also the header and every tile of every segment"}}),
      .min_operands = 1,
      .max_operands = 1,
      .run = Inspect};
}

}  // namespace kvcompd::client
