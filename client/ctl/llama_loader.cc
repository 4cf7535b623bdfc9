#include "client/ctl/llama_loader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/npz.h"
#include "nlohmann/json.hpp"

namespace kvcompd::client {
namespace {

constexpr uint64_t kMaxModelBytes = uint64_t{2} << 30;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("model: ", what));
}

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// An array of just this shape.
absl::StatusOr<std::vector<float>> Take(const std::map<std::string, NpyArray>& arrays,
                                        const std::string& name, const std::vector<uint64_t>& shape) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) return Malformed(absl::StrCat("no array ", name));
  if (found->second.shape != shape) return Malformed(absl::StrCat("array ", name, " has another shape"));
  return found->second.Floats();
}

absl::Status TakeMatrix(const std::map<std::string, NpyArray>& arrays, const std::string& name, uint32_t out,
                        uint32_t in, LlamaMatrix* matrix) {
  const auto values = Take(arrays, name, {out, in});
  if (!values.ok()) return values.status();
  *matrix = LlamaMatrix::Of(out, in, *values);
  return absl::OkStatus();
}

absl::Status TakeVector(const std::map<std::string, NpyArray>& arrays, const std::string& name, uint32_t size,
                        std::vector<float>* out) {
  auto values = Take(arrays, name, {size});
  if (!values.ok()) return values.status();
  *out = *std::move(values);
  return absl::OkStatus();
}

absl::StatusOr<LlamaConfig> ParseConfig(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Malformed("config.json is no object");
  LlamaConfig config;
  const std::pair<const char*, uint32_t*> kNumbers[] = {
      {"d", &config.dim},       {"L", &config.layers},    {"H", &config.heads},     {"KV", &config.kv_heads},
      {"hd", &config.head_dim}, {"ffn", &config.ffn_dim}, {"vocab", &config.vocab}, {"ctx", &config.context}};
  for (const auto& [name, field] : kNumbers) {
    const auto value = json.find(name);
    if (value == json.end() || !value->is_number_unsigned() || value->get<uint64_t>() > UINT32_MAX) {
      return Malformed(absl::StrCat("config.json: ", name));
    }
    *field = value->get<uint32_t>();
  }
  for (const auto& [name, field] : {std::pair{"eps", &config.rms_eps}, {"theta", &config.rope_theta}}) {
    const auto value = json.find(name);
    if (value == json.end() || !value->is_number()) return Malformed(absl::StrCat("config.json: ", name));
    *field = value->get<float>();
  }
  const auto rope = json.find("rope");
  if (rope == json.end() || (*rope != "half" && *rope != "interleaved"))
    return Malformed("config.json: rope");
  config.rope_interleaved = *rope == "interleaved";
  const auto tied = json.find("tied_embeddings");
  if (tied != json.end() && *tied != true) return Malformed("config.json: only tied embeddings are read");
  if (absl::Status s = config.Validate(); !s.ok()) return s;
  return config;
}

// Float arrays one after the other.
class FloatReader {
 public:
  explicit FloatReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> Next(uint64_t elems) {
    if (!ok_ || elems > (bytes_.size() - at_) / 4) {
      ok_ = false;
      return {};
    }
    const auto out = bytes_.subspan(at_, elems * 4);
    at_ += elems * 4;
    return out;
  }
  std::vector<float> Floats(uint64_t elems) {
    const auto bytes = Next(elems);
    std::vector<float> out(bytes.size() / 4);
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  bool ok() const { return ok_; }
  bool AtEnd() const { return at_ == bytes_.size(); }

 private:
  const std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
  bool ok_ = true;
};

absl::StatusOr<std::vector<std::vector<uint16_t>>> ReadTexts(const std::string& path,
                                                             const LlamaConfig& config) {
  const auto array = LoadNpy(path);
  if (!array.ok()) return array.status();
  if (array->type != NpyType::kUint16 || array->shape.size() != 2 || array->shape[1] > config.context) {
    return Malformed(absl::StrCat(path, " is not uint16 [texts, at most ", config.context, " tokens]"));
  }
  std::vector<std::vector<uint16_t>> texts(array->shape[0], std::vector<uint16_t>(array->shape[1]));
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].empty()) {
      std::memcpy(texts[i].data(), array->bytes.data() + i * texts[i].size() * 2, texts[i].size() * 2);
    }
    for (const uint16_t id : texts[i]) {
      if (id >= config.vocab) return Malformed(absl::StrCat(path, ": token ", id, " of ", config.vocab));
    }
  }
  return texts;
}

}  // namespace

absl::StatusOr<LlamaModel> LlamaOfArrays(const std::string& config_json,
                                         const std::map<std::string, NpyArray>& arrays) {
  auto config = ParseConfig(config_json);
  if (!config.ok()) return config.status();
  LlamaModel model{.config = *std::move(config)};
  const LlamaConfig& c = model.config;
  auto embedding = Take(arrays, "emb", {c.vocab, c.dim});
  if (!embedding.ok()) return embedding.status();
  model.embedding = *std::move(embedding);
  model.output = LlamaMatrix::Of(c.vocab, c.dim, model.embedding);
  if (absl::Status s = TakeVector(arrays, "norm", c.dim, &model.norm); !s.ok()) return s;
  model.layers.resize(c.layers);
  const uint32_t q_dim = c.heads * c.head_dim, kv_dim = c.kv_heads * c.head_dim;
  for (uint32_t i = 0; i < c.layers; ++i) {
    LlamaLayer& layer = model.layers[i];
    const auto name = [i](const char* part) { return absl::StrCat(i, ".", part); };
    absl::Status status;
    status.Update(TakeVector(arrays, name("n1"), c.dim, &layer.attention_norm));
    status.Update(TakeVector(arrays, name("n2"), c.dim, &layer.ffn_norm));
    status.Update(TakeMatrix(arrays, name("q"), q_dim, c.dim, &layer.q));
    status.Update(TakeMatrix(arrays, name("k"), kv_dim, c.dim, &layer.k));
    status.Update(TakeMatrix(arrays, name("v"), kv_dim, c.dim, &layer.v));
    status.Update(TakeMatrix(arrays, name("o"), c.dim, q_dim, &layer.o));
    status.Update(TakeMatrix(arrays, name("g"), c.ffn_dim, c.dim, &layer.gate));
    status.Update(TakeMatrix(arrays, name("u"), c.ffn_dim, c.dim, &layer.up));
    status.Update(TakeMatrix(arrays, name("dn"), c.dim, c.ffn_dim, &layer.down));
    if (!status.ok()) return status;
  }
  return model;
}

absl::StatusOr<LlamaModel> LlamaOfLlama2c(std::span<const std::byte> file) {
  int32_t numbers[7];
  if (file.size() < sizeof numbers) return Malformed("too short");
  std::memcpy(numbers, file.data(), sizeof numbers);
  // A negative vocabulary says that the output matrix is one of its own.
  if (std::any_of(std::begin(numbers), std::end(numbers), [](int32_t n) { return n <= 0; })) {
    return Malformed("a size that is not positive, or an output matrix of its own");
  }
  LlamaModel model;
  LlamaConfig& c = model.config;
  c.dim = static_cast<uint32_t>(numbers[0]);
  c.ffn_dim = static_cast<uint32_t>(numbers[1]);
  c.layers = static_cast<uint32_t>(numbers[2]);
  c.heads = static_cast<uint32_t>(numbers[3]);
  c.kv_heads = static_cast<uint32_t>(numbers[4]);
  c.vocab = static_cast<uint32_t>(numbers[5]);
  c.context = static_cast<uint32_t>(numbers[6]);
  if (c.dim % c.heads != 0) return Malformed("dim is no multiple of the heads");
  c.head_dim = c.dim / c.heads;
  c.rope_interleaved = true;
  if (absl::Status s = c.Validate(); !s.ok()) return s;

  const uint64_t dim = c.dim, ffn = c.ffn_dim, kv_dim = uint64_t{c.kv_heads} * c.head_dim;
  FloatReader reader(file.subspan(sizeof numbers));
  model.embedding = reader.Floats(c.vocab * dim);
  // Each kind of array stands for all layers.
  const auto vectors = [&] { return reader.Floats(c.layers * dim); };
  const auto matrices = [&](uint64_t out, uint64_t in) { return reader.Floats(c.layers * out * in); };
  const std::vector<float> n1 = vectors(), q = matrices(dim, dim), k = matrices(kv_dim, dim),
                           v = matrices(kv_dim, dim), o = matrices(dim, dim), n2 = vectors(),
                           gate = matrices(ffn, dim), down = matrices(dim, ffn), up = matrices(ffn, dim);
  model.norm = reader.Floats(dim);
  reader.Next(uint64_t{c.context} * c.head_dim);  // tables of cosines and sines, which Forward computes
  if (!reader.ok() || !reader.AtEnd()) return Malformed("another length than its sizes give");
  model.output = LlamaMatrix::Of(c.vocab, c.dim, model.embedding);
  for (uint32_t i = 0; i < c.layers; ++i) {
    const auto part = [i](const std::vector<float>& all, uint64_t elems) {
      return std::span(all).subspan(i * elems, elems);
    };
    const auto matrix = [&](const std::vector<float>& all, uint64_t out, uint64_t in) {
      return LlamaMatrix::Of(static_cast<uint32_t>(out), static_cast<uint32_t>(in), part(all, out * in));
    };
    LlamaLayer layer;
    layer.attention_norm.assign(part(n1, dim).begin(), part(n1, dim).end());
    layer.ffn_norm.assign(part(n2, dim).begin(), part(n2, dim).end());
    layer.q = matrix(q, dim, dim);
    layer.k = matrix(k, kv_dim, dim);
    layer.v = matrix(v, kv_dim, dim);
    layer.o = matrix(o, dim, dim);
    layer.gate = matrix(gate, ffn, dim);
    layer.up = matrix(up, ffn, dim);
    layer.down = matrix(down, dim, ffn);
    model.layers.push_back(std::move(layer));
  }
  return model;
}

absl::StatusOr<LoadedLlama> LoadLlama(const std::string& folder) {
  const std::filesystem::path path(folder);
  absl::StatusOr<LlamaModel> model = absl::NotFoundError(absl::StrCat(folder, ": no model"));
  std::error_code error;
  if (std::filesystem::exists(path / "weights.npz", error)) {
    const auto config = ReadFileBytes((path / "config.json").string(), 1 << 20);
    if (!config.ok()) return config.status();
    const auto file = ReadFileBytes((path / "weights.npz").string(), kMaxModelBytes);
    if (!file.ok()) return file.status();
    const auto arrays = ParseNpz(*file);
    if (!arrays.ok()) return arrays.status();
    model = LlamaOfArrays(Text(*config), *arrays);
  } else {
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      if (entry.path().extension() != ".bin" || entry.path().filename().string().starts_with("tok")) continue;
      const auto file = ReadFileBytes(entry.path().string(), kMaxModelBytes);
      if (!file.ok()) return file.status();
      model = LlamaOfLlama2c(*file);
      break;
    }
  }
  if (!model.ok())
    return absl::Status(model.status().code(), absl::StrCat(folder, ": ", model.status().message()));
  LoadedLlama loaded{.model = *std::move(model)};
  loaded.model.config.name = (path.has_filename() ? path : path.parent_path()).filename().string();
  auto texts = ReadTexts((path / "eval_tokens_u16.npy").string(), loaded.model.config);
  if (!texts.ok()) return texts.status();
  loaded.texts = *std::move(texts);
  return loaded;
}

}  // namespace kvcompd::client
