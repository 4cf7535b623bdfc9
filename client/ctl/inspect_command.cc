#include "client/ctl/inspect_command.h"

#include <memory>
#include <string>
#include <string_view>
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

constexpr std::string_view kCodebookMagic = "KVCS";  // FORMAT.md, "Codebook set"

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

// "16 huffman, 2 raw": the modes that there are.
std::string ModesOf(const InspectSegment& segment) {
  std::string text;
  for (size_t mode = segment.tile_modes.size(); mode-- > 0;) {
    if (segment.tile_modes[mode] == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", segment.tile_modes[mode], " ",
                    ToAbsl(segment.mode_names[mode]));
  }
  return text;
}

void PrintSegments(const InspectReport& report, std::ostream& out) {
  TextTable table({">segment", ">offset", ">bytes", ">layer", "", "codec", ">heads", ">tokens", ">channels",
                   ">ratio", "tiles", "units of the first group", "state"});
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
                  ModesOf(s), UnitsOf(s), StateOf(s)});
  }
  table.Print(out);
}

void PrintTiles(const InspectSegment& segment, std::ostream& out) {
  TextTable table({">head", ">group", ">offset", ">bytes", "mode", "encoded_crc", "decoded_crc"});
  for (const InspectTile& tile : segment.tiles) {
    const auto mode = static_cast<size_t>(tile.entry.mode);
    table.AddRow(
        {absl::StrCat(segment.shape.head_begin + tile.head), absl::StrCat(tile.group),
         absl::StrCat(tile.offset), absl::StrCat(tile.entry.bytes),
         mode < segment.mode_names.size() ? std::string(segment.mode_names[mode]) : absl::StrCat(mode),
         absl::StrFormat("%08x", tile.entry.encoded_crc), absl::StrFormat("%08x", tile.entry.decoded_crc)});
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

// A codebook set, as `get --container` writes them.
absl::Status InspectCodebooks(const CommandContext& context, const std::string& path, ByteSpan bytes) {
  for (const char* flag : {"codebooks", "tiles"}) {
    if (context.args.Has(flag)) return UsageError(absl::StrCat("--", flag, " is about a container"));
  }
  const auto set = codec::CodebookSet::Parse(AsChars(bytes));
  if (!set.ok()) return absl::Status(set.status().code(), absl::StrCat(path, ": ", set.status().message()));
  TextTable table({">layer", "", ">symbols", ">longest code"});
  Json json = {{"bytes", bytes.size()},
               {"id", (*set)->id().Hex()},
               {"fingerprint", (*set)->fingerprint().Hex()},
               {"profile", (*set)->profile_text()},
               {"books", Json::array()}};
  const auto add = [&](uint16_t layer, Tensor tensor, const codec::Codebook& book) {
    const bool any = layer == codec::CodebookSet::kAnyLayer;
    table.AddRow({any ? "others" : absl::StrCat(layer), std::string(TensorName(tensor)),
                  absl::StrCat(book.num_symbols()), absl::StrCat(book.max_bits())});
    json["books"].push_back({{"layer", any ? Json(nullptr) : Json(layer)},
                             {"tensor", std::string(TensorName(tensor))},
                             {"symbols", book.num_symbols()},
                             {"longest_code", book.max_bits()}});
  };
  // A layer without books of its own finds those of the others.
  for (uint32_t layer = 0; layer <= codec::CodebookSet::kAnyLayer; ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      const codec::Codebook* const book = (*set)->Find(layer, tensor);
      const codec::Codebook* const others = (*set)->Find(codec::CodebookSet::kAnyLayer, tensor);
      if (book == nullptr || (book == others && layer != codec::CodebookSet::kAnyLayer)) continue;
      add(static_cast<uint16_t>(layer), tensor, *book);
    }
  }
  if (context.args.Switch("json")) {
    PrintJson(json, context.out);
    return absl::OkStatus();
  }
  context.out << "codebook set " << (*set)->id().Hex() << "\nof model    " << (*set)->fingerprint().Hex()
              << "\nprofile     " << (*set)->profile_text() << "\n\n";
  table.Print(context.out);
  return absl::OkStatus();
}

absl::Status Inspect(const CommandContext& context) {
  const std::string& path = context.args.positionals()[0];
  const auto bytes = ReadFileBytes(path, codec::kMaxContainerBytes);
  if (!bytes.ok()) return bytes.status();
  if (AsChars(*bytes).starts_with(kCodebookMagic)) return InspectCodebooks(context, path, *bytes);
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
      .operands = "FILE.kvcb | FILE.kvcs",
      .help =
          "explains an encoded block or codebook set and verifies it (`get --container` writes such files)",
      .flags =
          WithJsonFlag({{"codebooks", "FILE.kvcs", "the codebook set that the file names, to decode it, too"},
                        {"tiles", "", "also the header and every tile of every segment"}}),
      .min_operands = 1,
      .max_operands = 1,
      .run = Inspect};
}

}  // namespace kvcompd::client
