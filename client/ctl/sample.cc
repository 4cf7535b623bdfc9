#include "client/ctl/sample.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "codec/base/byte_io.h"
#include "codec/base/chain_hash.h"

namespace kvcompd::client {
namespace {

constexpr char kBf16Suffix[] = ".kv.bf16.npy";
constexpr char kFp16Suffix[] = ".kv.f16.npy";

std::optional<std::string> WithoutSuffix(const std::string& path, std::string_view suffix) {
  if (!path.ends_with(suffix)) return std::nullopt;
  return path.substr(0, path.size() - suffix.size());
}

bool FileExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace

absl::StatusOr<KvFile> LoadSample(const std::string& path) {
  if (auto stem = WithoutSuffix(path, kBf16Suffix)) return LoadKvFile(*stem, DType::kBf16);
  if (auto stem = WithoutSuffix(path, kFp16Suffix)) return LoadKvFile(*stem, DType::kFp16);
  const std::string stem = WithoutSuffix(path, ".json").value_or(path);
  const bool fp16 = !FileExists(stem + kBf16Suffix) && FileExists(stem + kFp16Suffix);
  return LoadKvFile(stem, fp16 ? DType::kFp16 : DType::kBf16);
}

absl::StatusOr<std::vector<SampleBlock>> SampleBlocks(const KvFile& file, uint32_t tokens_per_block,
                                                      bool include_tail) {
  if (file.context_token_ids.size() % tokens_per_block != 0) {
    return absl::InvalidArgumentError(absl::StrCat("the sample starts after ", file.context_token_ids.size(),
                                                   " tokens, which are not whole blocks of ",
                                                   tokens_per_block));
  }
  std::vector<uint32_t> ids = file.context_token_ids;
  ids.insert(ids.end(), file.token_ids.begin(), file.token_ids.end());
  const std::vector<BlockKey> keys = ChainKeys(ids, tokens_per_block, {}, include_tail);
  const size_t context_blocks = file.context_token_ids.size() / tokens_per_block;
  std::vector<SampleBlock> blocks;
  for (size_t i = context_blocks; i < keys.size(); ++i) {
    SampleBlock block{.key = keys[i],
                      .first_token = static_cast<uint32_t>(i - context_blocks) * tokens_per_block};
    if (i > 0) block.parent = keys[i - 1];
    block.tokens = std::min(tokens_per_block, file.tokens - block.first_token);
    blocks.push_back(block);
  }
  return blocks;
}

std::vector<BlockKey> KeysOf(std::span<const SampleBlock> blocks) {
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : blocks) keys.push_back(block.key);
  return keys;
}

absl::StatusOr<PagedBuffer> SampleSource(const KvFile& file) {
  // A buffer has pointers to write through; a Put only reads.
  auto pointers = [&file](Tensor tensor) {
    std::vector<std::byte*> out;
    for (uint32_t layer = 0; layer < file.layers; ++layer) {
      out.push_back(const_cast<std::byte*>(file.TensorValues(layer, tensor).data()));
    }
    return out;
  };
  return PagedBuffer::Contiguous(PageLayout::kNhd, file.dtype, file.kv_heads, file.tokens, file.head_dim,
                                 file.head_dim, pointers(Tensor::kK), pointers(Tensor::kV));
}

BlockPlace PlaceOf(const PagedBuffer& buffer, const SampleBlock& block) {
  return {.buffer = &buffer, .pages = {0}, .first_token = block.first_token};
}

absl::StatusOr<std::unique_ptr<SampleMemory>> SampleMemory::Create(const KvFile& file) {
  std::unique_ptr<SampleMemory> memory(new SampleMemory);
  const uint64_t tensor_bytes = file.TensorBytes(file.tokens);
  memory->bytes_.resize(tensor_bytes * 2 * file.layers);
  std::vector<std::byte*> k, v;
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    k.push_back(memory->bytes_.data() + tensor_bytes * (2 * layer));
    v.push_back(memory->bytes_.data() + tensor_bytes * (2 * layer + 1));
  }
  auto buffer = PagedBuffer::Contiguous(PageLayout::kHnd, file.dtype, file.kv_heads, file.tokens,
                                        file.head_dim, file.head_dim, std::move(k), std::move(v));
  if (!buffer.ok()) return buffer.status();
  memory->buffer_ = *std::move(buffer);
  return memory;
}

absl::StatusOr<std::vector<std::byte>> SampleMemory::BlockValues(uint32_t layer, Tensor tensor,
                                                                 const SampleBlock& block) const {
  std::vector<std::byte> out(buffer_->TensorBytes(tensor, block.tokens));
  const absl::Status status = buffer_->Gather(PlaceOf(*buffer_, block), layer, tensor, /*head_begin=*/0,
                                              block.tokens, /*offset=*/0, out);
  if (!status.ok()) return status;
  return out;
}

void SampleMemory::Fill(std::byte value) { std::fill(bytes_.begin(), bytes_.end(), value); }

absl::StatusOr<BoundReport> CheckBlocks(const KvFile& file, const SampleMemory& memory,
                                        std::span<const SampleBlock> blocks, const Profile& profile) {
  BoundReport report;
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (uint32_t layer = 0; layer < file.layers; ++layer) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        std::vector<std::byte> original(file.TensorBytes(blocks[b].tokens));
        const absl::Status copied =
            file.CopyTokens(layer, tensor, blocks[b].first_token, blocks[b].tokens, original);
        if (!copied.ok()) return copied;
        const auto decoded = memory.BlockValues(layer, tensor, blocks[b]);
        if (!decoded.ok()) return decoded.status();
        const BoundSpec spec =
            BoundSpecOf(profile, tensor, file.dtype, file.kv_heads, blocks[b].tokens, file.head_dim);
        auto part = CheckBound(spec, original, *decoded);
        if (!part.ok()) return part.status();
        if (part->violations > 0) {
          part->first_violation = absl::StrCat("block ", b, ", layer ", layer, ", ",
                                               ToAbsl(TensorName(tensor)), ", ", part->first_violation);
        }
        report.Add(*part);
      }
    }
  }
  return report;
}

absl::Status WriteFileBytes(const std::string& path, ByteSpan bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file ? absl::OkStatus() : absl::InternalError(absl::StrCat("cannot write ", path));
}

absl::Status WriteSampleNpy(const std::string& path, const KvFile& shape, const SampleMemory& memory,
                            uint32_t tokens) {
  const uint64_t row = uint64_t{shape.head_dim} * ElementBytes(shape.dtype);
  const uint64_t tensor_bytes = shape.TensorBytes(shape.tokens);
  // bf16 has no NumPy type; samples keep its bits.
  std::string header = absl::StrCat("{'descr': '", shape.dtype == DType::kFp16 ? "<f2" : "<u2",
                                    "', 'fortran_order': False, 'shape': (", shape.layers, ", 2, ", tokens,
                                    ", ", shape.kv_heads, ", ", shape.head_dim, "), }");
  constexpr size_t kFixedBytes = 10;
  header.append(63 - (kFixedBytes + header.size()) % 64, ' ');  // the data starts at a multiple of 64
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  ByteWriter writer(&out);
  writer.U16(static_cast<uint16_t>(header.size()));
  writer.Bytes(header);
  for (uint32_t tensor = 0; tensor < 2 * shape.layers; ++tensor) {
    for (uint32_t token = 0; token < tokens; ++token) {
      for (uint32_t head = 0; head < shape.kv_heads; ++head) {
        const uint64_t at = tensor * tensor_bytes + (uint64_t{head} * shape.tokens + token) * row;
        writer.Bytes(AsChars(memory.bytes().subspan(at, row)));
      }
    }
  }
  return WriteFileBytes(path, AsBytes(out));
}

}  // namespace kvcompd::client
