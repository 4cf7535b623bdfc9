#include "tests/client/ctl/llama_samples.h"

#include <isa-l/crc.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::client {
namespace {

template <typename T>
void Append(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string BytesOf(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4);
}

}  // namespace

TinyLlama MakeTinyLlama(bool rope_interleaved, uint32_t context) {
  TinyLlama tiny;
  // dim = heads * head_dim, as llama2.c's form has it.
  tiny.config = {.name = "tiny",
                 .dim = 32,
                 .layers = 2,
                 .heads = 4,
                 .kv_heads = 2,
                 .head_dim = 8,
                 .ffn_dim = 40,
                 .vocab = 50,
                 .context = context,
                 .rope_interleaved = rope_interleaved};
  kvcompd::testing::Random random(7);
  const auto add = [&](const std::string& name, std::vector<uint64_t> shape, double mean, double deviation) {
    uint64_t elems = 1;
    for (const uint64_t n : shape) elems *= n;
    std::vector<float> values(elems);
    for (float& v : values) v = static_cast<float>(mean + deviation * random.Bell());
    tiny.arrays[name] = {std::move(shape), std::move(values)};
  };
  const LlamaConfig& c = tiny.config;
  add("emb", {c.vocab, c.dim}, 0, 0.5);
  add("norm", {c.dim}, 1, 0.1);
  for (uint32_t i = 0; i < c.layers; ++i) {
    const auto name = [i](const char* part) { return absl::StrCat(i, ".", part); };
    add(name("n1"), {c.dim}, 1, 0.1);
    add(name("n2"), {c.dim}, 1, 0.1);
    add(name("q"), {c.dim, c.dim}, 0, 0.3);
    add(name("k"), {c.kv_heads * c.head_dim, c.dim}, 0, 0.3);
    add(name("v"), {c.kv_heads * c.head_dim, c.dim}, 0, 0.3);
    add(name("o"), {c.dim, c.dim}, 0, 0.3);
    add(name("g"), {c.ffn_dim, c.dim}, 0, 0.2);
    add(name("u"), {c.ffn_dim, c.dim}, 0, 0.2);
    add(name("dn"), {c.dim, c.ffn_dim}, 0, 0.2);
  }
  return tiny;
}

std::string ConfigJsonOf(const TinyLlama& tiny) {
  const LlamaConfig& c = tiny.config;
  return absl::StrCat("{\"d\":", c.dim, ",\"L\":", c.layers, ",\"H\":", c.heads, ",\"KV\":", c.kv_heads,
                      ",\"hd\":", c.head_dim, ",\"ffn\":", c.ffn_dim,
                      ",\"eps\":1e-05,\"theta\":10000.0,\"vocab\":", c.vocab, ",\"ctx\":", c.context,
                      ",\"rope\":\"", c.rope_interleaved ? "interleaved" : "half",
                      "\",\"tied_embeddings\":true}");
}

std::string NpyOf(const std::vector<uint64_t>& shape, const std::string& descr, const std::string& bytes) {
  std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (",
                                    absl::StrJoin(shape, ", "), shape.size() == 1 ? "," : "", "), }");
  while ((10 + header.size() + 1) % 64 != 0) header.push_back(' ');
  header.push_back('\n');
  std::string out("\x93NUMPY\x01\x00", 8);
  Append<uint16_t>(&out, static_cast<uint16_t>(header.size()));
  return out + header + bytes;
}

std::string NpzOf(const TinyLlama& tiny) {
  std::string out, directory;
  uint16_t count = 0;
  for (const auto& [name, array] : tiny.arrays) {
    const std::string file = NpyOf(array.first, "<f4", BytesOf(array.second)), entry = name + ".npy";
    const uint32_t crc = crc32_gzip_refl(0, reinterpret_cast<const unsigned char*>(file.data()), file.size());
    const auto size = static_cast<uint32_t>(file.size());
    const auto at = static_cast<uint32_t>(out.size());
    const std::string extra(
        "\x01\x00\x10\x00"
        "0123456789abcdef",
        20);  // numpy's has the sizes of zip64
    Append<uint32_t>(&out, 0x04034b50);
    out += std::string("\x2d\0\0\0\0\0\0\0\0\0", 10);
    for (const uint32_t v : {crc, size, size}) Append(&out, v);
    Append(&out, static_cast<uint16_t>(entry.size()));
    Append(&out, static_cast<uint16_t>(extra.size()));
    out += entry + extra + file;
    Append<uint32_t>(&directory, 0x02014b50);
    directory += std::string("\x2d\x03\x2d\0\0\0\0\0\0\0\0\0", 12);
    for (const uint32_t v : {crc, size, size}) Append(&directory, v);
    Append(&directory, static_cast<uint16_t>(entry.size()));
    directory += std::string(12, '\0');
    Append(&directory, at);
    directory += entry;
    ++count;
  }
  const auto at = static_cast<uint32_t>(out.size());
  out += directory;
  Append<uint32_t>(&out, 0x06054b50);
  out += std::string(4, '\0');
  Append(&out, count);
  Append(&out, count);
  Append(&out, static_cast<uint32_t>(directory.size()));
  Append(&out, at);
  Append<uint16_t>(&out, 0);
  return out;
}

std::string Llama2cOf(const TinyLlama& tiny) {
  const LlamaConfig& c = tiny.config;
  std::string out;
  for (const uint32_t n : {c.dim, c.ffn_dim, c.layers, c.heads, c.kv_heads, c.vocab, c.context}) {
    Append(&out, static_cast<int32_t>(n));
  }
  out += BytesOf(tiny.arrays.at("emb").second);
  for (const char* part : {"n1", "q", "k", "v", "o", "n2", "g", "dn", "u"}) {
    for (uint32_t i = 0; i < c.layers; ++i) out += BytesOf(tiny.arrays.at(absl::StrCat(i, ".", part)).second);
  }
  out += BytesOf(tiny.arrays.at("norm").second);
  return out + std::string(size_t{4} * c.context * c.head_dim, '\0');
}

std::vector<std::vector<uint16_t>> TinyTexts(const TinyLlama& tiny, size_t texts, size_t tokens) {
  kvcompd::testing::Random random(3);
  std::vector<std::vector<uint16_t>> out(texts, std::vector<uint16_t>(tokens));
  for (auto& text : out) {
    for (uint16_t& id : text) id = static_cast<uint16_t>(random.Below(tiny.config.vocab));
  }
  return out;
}

std::string TextsNpyOf(const std::vector<std::vector<uint16_t>>& texts) {
  std::string bytes;
  for (const auto& text : texts) bytes.append(reinterpret_cast<const char*>(text.data()), text.size() * 2);
  return NpyOf({texts.size(), texts[0].size()}, "<u2", bytes);
}

}  // namespace kvcompd::client
