#include "client/ctl/inspect_fields.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"

namespace kvcompd::client {
namespace {

template <typename T>
T At(ByteSpan bytes, uint64_t at) {
  T value{};
  if (at <= bytes.size() && sizeof(T) <= bytes.size() - at) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// Reads fields one after the other.
class FieldReader {
 public:
  FieldReader(ByteSpan bytes, uint64_t offset) : bytes_(bytes), offset_(offset) {}

  template <typename T>
  T Number(const char* name, const std::string& note = "") {
    const T value = At<T>(bytes_, at_);
    Add(name, sizeof(T), Json(value), note);
    return value;
  }
  void Magic(const char* name, const char* expected) {
    std::string text(AsChars(Take(4)));
    const bool good = text == expected;
    for (char& c : text) c = c >= 0x20 && c < 0x7f ? c : '?';
    Add(name, 4, Json(text), good ? "" : absl::StrCat("must be ", expected));
  }
  void Hex(const char* name, uint64_t size, uint64_t field_size, const std::string& note = "") {
    Add(name, field_size, Json(HexOf(AsChars(Take(size)))), note);
  }
  void Text(const char* name, uint64_t size) { Add(name, size, Json(std::string(AsChars(Take(size)))), ""); }
  // A CRC at a place of its own, of the bytes [0, at) or of two pieces.
  void Crc(const char* name, uint64_t at, uint32_t computed) {
    at_ = at;
    const uint32_t stored = At<uint32_t>(bytes_, at);
    Add(name, 4, Json(absl::StrFormat("%08x", stored)),
        stored == computed ? "matches" : absl::StrFormat("does not match: the bytes give %08x", computed));
  }
  void Note(const std::string& note) {
    if (!fields_.empty()) fields_.back().note = note;
  }
  void Skip(uint64_t to) { at_ = to; }
  uint64_t at() const { return at_; }
  ByteSpan Take(uint64_t size) const {
    return at_ >= bytes_.size() ? ByteSpan()
                                : bytes_.subspan(at_, std::min<uint64_t>(size, bytes_.size() - at_));
  }
  std::vector<InspectField> Done() && { return std::move(fields_); }

 private:
  void Add(const char* name, uint64_t size, Json value, std::string note) {
    if (at_ <= bytes_.size() && size <= bytes_.size() - at_) {
      fields_.push_back({offset_ + at_, size, name, std::move(value), std::move(note)});
    }
    at_ += size;
  }

  const ByteSpan bytes_;
  const uint64_t offset_;
  uint64_t at_ = 0;
  std::vector<InspectField> fields_;
};

std::string DTypeNote(uint8_t dtype) {
  const bool known = ElementBytes(static_cast<DType>(dtype)) != 0;
  return known ? std::string(DTypeName(static_cast<DType>(dtype))) : "not known";
}

std::string TensorNote(uint8_t tensor) { return tensor == 1 ? "K" : tensor == 2 ? "V" : "not known"; }

std::string CodecNote(uint8_t codec) {
  const auto id = static_cast<CodecId>(codec);
  const std::string_view name = CodecName(id);
  return name == "unknown" ? "not known" : std::string(name);
}

ByteSpan Prefix(ByteSpan bytes, uint64_t size) {
  return bytes.subspan(0, std::min<uint64_t>(size, bytes.size()));
}

}  // namespace

uint32_t U32At(ByteSpan bytes, uint64_t at) { return At<uint32_t>(bytes, at); }
uint64_t U64At(ByteSpan bytes, uint64_t at) { return At<uint64_t>(bytes, at); }

std::vector<InspectField> BlockHeaderFields(ByteSpan bytes, uint64_t offset) {
  FieldReader r(bytes, offset);
  r.Magic("magic", "KVCB");
  r.Number<uint8_t>("major");
  r.Number<uint8_t>("minor");
  const auto header_bytes = r.Number<uint16_t>("header_bytes");
  r.Number<uint32_t>("must_understand");
  r.Number<uint32_t>("may_ignore");
  r.Hex("fingerprint", 32, 32, "of the model descriptor");
  const auto key_bytes = r.Number<uint8_t>("key_bytes");
  const auto dtype = r.Number<uint8_t>("dtype");
  r.Note(DTypeNote(dtype));
  r.Number<uint16_t>("tokens");
  r.Hex("key", std::min<uint64_t>(key_bytes, 64), 64, "as stored: the cache salt is mixed in");
  r.Number<uint16_t>("group", "attention group");
  r.Number<uint16_t>("head_begin");
  r.Number<uint16_t>("heads");
  r.Number<uint16_t>("layer_begin", "index in the group's layers");
  const auto layers = r.Number<uint16_t>("layers");
  r.Number<uint16_t>("reserved");
  r.Number<uint32_t>("head_dim_k");
  const auto head_dim_v = r.Number<uint32_t>("head_dim_v");
  if (head_dim_v == 0) r.Note("no V");
  const auto error_bound = r.Number<float>("error_bound");
  r.Note(error_bound == 0 ? "bit-exact" : "the profile's, relative to the range of a unit");
  const auto profile_bytes = r.Number<uint16_t>("profile_bytes");
  r.Number<uint16_t>("reserved");
  const std::string_view set = AsChars(r.Take(32));
  const bool built_in = set.find_first_not_of('\0') == std::string_view::npos;
  r.Hex("codebook_set", 32, 32,
        built_in ? "the built-in set, or a codec without books" : "SHA-256 of the set");
  const uint64_t layer_list = r.at();
  std::vector<uint16_t> list;
  for (uint32_t i = 0; i < layers && layer_list + 2 * i + 2 <= bytes.size(); ++i) {
    list.push_back(At<uint16_t>(bytes, layer_list + 2 * i));
  }
  r.Hex("layer_list", 2 * layers, 2 * uint64_t{layers});
  std::string layer_text;
  for (uint16_t layer : list) absl::StrAppend(&layer_text, layer_text.empty() ? "layers " : ", ", layer);
  r.Note(layer_text);
  r.Text("profile", profile_bytes);
  if (header_bytes >= 4) r.Crc("crc", header_bytes - 4, Crc32c(Prefix(bytes, header_bytes - 4)));
  return std::move(r).Done();
}

std::vector<InspectField> SegmentHeaderFields(ByteSpan bytes, uint64_t offset) {
  FieldReader r(bytes, offset);
  r.Magic("magic", "KVSG");
  r.Number<uint32_t>("must_understand");
  r.Number<uint32_t>("may_ignore");
  r.Number<uint16_t>("layer", "global number");
  const auto tensor = r.Number<uint8_t>("tensor");
  r.Note(TensorNote(tensor));
  const auto codec = r.Number<uint8_t>("codec");
  r.Note(CodecNote(codec));
  const auto dtype = r.Number<uint8_t>("dtype");
  r.Note(DTypeNote(dtype));
  r.Number<uint8_t>("reserved");
  r.Number<uint16_t>("head_begin");
  r.Number<uint16_t>("heads");
  r.Number<uint16_t>("tokens");
  r.Number<uint32_t>("channels");
  r.Number<uint32_t>("segment_bytes");
  r.Number<uint16_t>("groups", "of 64 tokens");
  r.Number<uint16_t>("reserved");
  r.Number<uint32_t>("tile_index", "offset in the segment");
  r.Number<uint32_t>("group_index", "offset in the segment");
  const auto data = r.Number<uint32_t>("data", "offset in the segment");
  r.Number<uint64_t>("unused");
  r.Number<uint32_t>("reserved");
  const bool has_indices = data >= 64 && data <= bytes.size();
  uint32_t crc = Crc32c(Prefix(bytes, 60));
  if (has_indices) crc = ExtendCrc32c(crc, bytes.subspan(64, data - 64));
  r.Crc("crc", 60, crc);
  return std::move(r).Done();
}

std::vector<InspectField> FooterFields(ByteSpan bytes, uint64_t offset) {
  FieldReader r(bytes, offset);
  r.Magic("magic", "KVCF");
  const auto segments = r.Number<uint32_t>("num_segments");
  r.Number<uint64_t>("container_bytes");
  r.Number<uint64_t>("raw_bytes", "quality record: bytes of the values");
  r.Number<uint32_t>("tiles", "quality record");
  r.Number<uint32_t>("raw_tiles", "quality record: tiles in mode raw");
  r.Number<float>("max_error_over_r_k", "quality record: what the encoder measured; 0 where it was not told");
  r.Number<float>("max_error_over_r_v", "the same for V; 0 without V");
  for (uint32_t i = 0; i < segments && r.at() + 16 + 12 <= bytes.size(); ++i) {
    const std::string name = absl::StrCat("extent[", i, "]");
    r.Number<uint64_t>(absl::StrCat(name, ".offset").c_str());
    r.Number<uint64_t>(absl::StrCat(name, ".bytes").c_str());
  }
  if (bytes.size() >= 12) {
    r.Skip(bytes.size() - 12);
    r.Number<uint32_t>("footer_bytes");
    r.Crc("crc", bytes.size() - 8, Crc32c(Prefix(bytes, bytes.size() - 8)));
    r.Magic("end_magic", "KVCE");
  }
  return std::move(r).Done();
}

std::optional<FooterPlace> FindFooter(ByteSpan container) {
  if (container.size() < 64 || U32At(container, container.size() - 4) != kEndMagic) return std::nullopt;
  FooterPlace place;
  place.bytes = U32At(container, container.size() - 12);
  if (place.bytes < 52 || place.bytes > container.size()) return std::nullopt;
  place.offset = container.size() - place.bytes;
  const ByteSpan footer = container.subspan(place.offset);
  if (U32At(footer, 0) != kFooterMagic) return std::nullopt;
  place.crc_ok = Crc32c(Prefix(footer, place.bytes - 8)) == U32At(footer, place.bytes - 8);
  return place;
}

}  // namespace kvcompd::client
