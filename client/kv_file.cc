#include "client/kv_file.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/npy.h"
#include "nlohmann/json.hpp"

namespace kvcompd::client {
namespace {

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxTokens = uint64_t{1} << 24;
constexpr uint64_t kMaxLayers = 4096;

absl::Status Malformed(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::Status ReadText(const nlohmann::json& json, const char* field, const std::string& path,
                      std::string* out) {
  const auto it = json.find(field);
  if (it == json.end() || !it->is_string()) return Malformed(path, absl::StrCat(field, " is not a string"));
  *out = it->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadTokenIds(const nlohmann::json& json, const char* field, const std::string& path,
                          std::vector<uint32_t>* out) {
  const auto it = json.find(field);
  if (it == json.end() || !it->is_array()) return Malformed(path, absl::StrCat(field, " is not an array"));
  if (it->size() > kMaxTokens) return Malformed(path, absl::StrCat(field, " is too long"));
  out->reserve(it->size());
  for (const nlohmann::json& id : *it) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
      return Malformed(path, absl::StrCat(field, " holds something that is no u32"));
    }
    out->push_back(id.get<uint32_t>());
  }
  return absl::OkStatus();
}

absl::Status ReadJson(const std::string& path, KvFile* out) {
  const absl::StatusOr<std::vector<std::byte>> bytes = ReadFileBytes(path, kMaxJsonBytes);
  if (!bytes.ok()) return bytes.status();
  const std::string_view text = AsChars(*bytes);
  const nlohmann::json json =
      nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Malformed(path, "not a JSON object");
  absl::Status status = ReadText(json, "model", path, &out->model);
  if (status.ok()) status = ReadText(json, "sample", path, &out->sample);
  if (status.ok()) status = ReadText(json, "source", path, &out->source);
  if (status.ok()) status = ReadTokenIds(json, "token_ids", path, &out->token_ids);
  if (status.ok() && json.contains("context_token_ids")) {
    status = ReadTokenIds(json, "context_token_ids", path, &out->context_token_ids);
  }
  return status;
}

absl::Status ReadKv(const std::string& path, KvFile* out) {
  absl::StatusOr<NpyArray> array = LoadNpy(path);
  if (!array.ok()) return array.status();
  const NpyType want = out->dtype == DType::kBf16 ? NpyType::kUint16 : NpyType::kFloat16;
  // float16 may also stand as its bits.
  if (array->type != want && array->type != NpyType::kUint16) {
    return Malformed(path, absl::StrCat(ToAbsl(NpyTypeName(array->type)), " where ",
                                        ToAbsl(NpyTypeName(want)), " is needed"));
  }
  const std::vector<uint64_t>& shape = array->shape;
  if (shape.size() != 5 || shape[1] != 2)
    return Malformed(path, "not [layers, 2, tokens, kv_heads, head_dim]");
  if (shape[0] == 0 || shape[0] > kMaxLayers || shape[2] == 0 || shape[2] > kMaxTokens || shape[3] == 0 ||
      shape[3] > kMaxHeads || shape[4] < kMinHeadDim || shape[4] > kMaxHeadDim) {
    return Malformed(path, "a dimension is out of range");
  }
  if (shape[2] != out->token_ids.size()) {
    return Malformed(path,
                     absl::StrCat(shape[2], " tokens, the JSON has ", out->token_ids.size(), " token ids"));
  }
  out->layers = static_cast<uint32_t>(shape[0]);
  out->tokens = static_cast<uint32_t>(shape[2]);
  out->kv_heads = static_cast<uint32_t>(shape[3]);
  out->head_dim = static_cast<uint32_t>(shape[4]);
  out->kv = std::move(array->bytes);
  return absl::OkStatus();
}

absl::Status ReadQueries(const std::string& path, KvFile* out) {
  const absl::StatusOr<NpyArray> array = LoadNpy(path);
  if (absl::IsNotFound(array.status())) return absl::OkStatus();  // queries are optional
  if (!array.ok()) return array.status();
  const std::vector<uint64_t>& shape = array->shape;
  if (shape.size() != 4) return Malformed(path, "not [layers, query_tokens, query_heads, head_dim]");
  if (shape[0] != out->layers || shape[3] != out->head_dim || shape[1] == 0 || shape[1] > out->tokens ||
      shape[2] == 0 || shape[2] > kMaxHeads || shape[2] % out->kv_heads != 0) {
    return Malformed(path, "its shape does not match the KV");
  }
  absl::StatusOr<std::vector<float>> floats = array->Floats();
  if (!floats.ok()) return Malformed(path, floats.status().message());
  out->query_tokens = static_cast<uint32_t>(shape[1]);
  out->query_heads = static_cast<uint32_t>(shape[2]);
  out->queries = *std::move(floats);
  return absl::OkStatus();
}

}  // namespace

ByteSpan KvFile::TensorValues(uint32_t layer, Tensor tensor) const {
  const uint64_t bytes = TensorBytes(tokens);
  const uint64_t index = uint64_t{layer} * 2 + (tensor == Tensor::kV ? 1 : 0);
  return ByteSpan(kv).subspan(index * bytes, bytes);
}

absl::Status KvFile::CopyTokens(uint32_t layer, Tensor tensor, uint32_t first_token, uint32_t num_tokens,
                                MutableByteSpan out) const {
  if (layer >= layers) return absl::InvalidArgumentError(absl::StrCat("layer ", layer, " of ", layers));
  if (first_token > tokens || num_tokens > tokens - first_token) {
    return absl::InvalidArgumentError(
        absl::StrCat(num_tokens, " tokens from ", first_token, " on, the sample has ", tokens));
  }
  if (out.size() != TensorBytes(num_tokens)) {
    return absl::InvalidArgumentError(
        absl::StrCat("room for ", out.size(), " bytes, not ", TensorBytes(num_tokens)));
  }
  const ByteSpan values = TensorValues(layer, tensor);  // [tokens, kv_heads, head_dim]
  const size_t row_bytes = size_t{head_dim} * ElementBytes(dtype);
  std::byte* to = out.data();
  for (uint32_t head = 0; head < kv_heads; ++head) {
    for (uint32_t token = first_token; token < first_token + num_tokens; ++token) {
      std::memcpy(to, values.data() + (size_t{token} * kv_heads + head) * row_bytes, row_bytes);
      to += row_bytes;
    }
  }
  return absl::OkStatus();
}

ModelDescriptor KvFile::Descriptor(uint32_t tokens_per_block) const {
  AttentionGroup group;
  for (uint32_t layer = 0; layer < layers; ++layer) group.layers.push_back(layer);
  group.kv_heads = kv_heads;
  group.head_dim_k = head_dim;
  group.head_dim_v = head_dim;
  group.dtype = dtype;
  ModelDescriptor descriptor;
  descriptor.model_id = model;
  descriptor.groups.push_back(std::move(group));
  descriptor.tokens_per_block = tokens_per_block;
  return descriptor;
}

absl::StatusOr<KvFile> LoadKvFile(const std::string& stem, DType dtype) {
  if (dtype != DType::kBf16 && dtype != DType::kFp16) {
    return absl::InvalidArgumentError(absl::StrCat(stem, ": samples are bf16 or fp16"));
  }
  KvFile out;
  out.dtype = dtype;
  absl::Status status = ReadJson(stem + ".json", &out);
  if (status.ok()) status = ReadKv(stem + (dtype == DType::kBf16 ? ".kv.bf16.npy" : ".kv.f16.npy"), &out);
  if (status.ok()) status = ReadQueries(stem + ".q.f32.npy", &out);
  if (!status.ok()) return status;
  return out;
}

absl::StatusOr<std::vector<KvFileName>> FindKvFiles(const std::string& folder) {
  constexpr std::pair<std::string_view, DType> kSuffixes[] = {{".kv.bf16.npy", DType::kBf16},
                                                              {".kv.f16.npy", DType::kFp16}};
  std::vector<KvFileName> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string path = entry.path().string();
    for (const auto& [suffix, dtype] : kSuffixes) {
      if (path.ends_with(suffix)) out.push_back({path.substr(0, path.size() - suffix.size()), dtype});
    }
  }
  if (error) return absl::NotFoundError(absl::StrCat(folder, ": ", error.message()));
  if (out.empty()) return absl::NotFoundError(absl::StrCat(folder, ": no *.kv.bf16.npy and no *.kv.f16.npy"));
  std::sort(out.begin(), out.end(), [](const KvFileName& a, const KvFileName& b) {
    return std::pair(a.stem, a.dtype) < std::pair(b.stem, b.dtype);
  });
  return out;
}

}  // namespace kvcompd::client
