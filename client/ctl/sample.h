// A KV sample as kvcompctl puts and gets it: its blocks with their keys, its values as the client's buffers
// take them, and memory for what comes back.
//
// Called by the commands. Plain values; const use from any thread.
//
//   auto file = LoadSample("tests/data/tiny1m.story1.kv.bf16.npy");
//   auto blocks = SampleBlocks(*file, /*tokens_per_block=*/64, /*include_tail=*/false);
//   auto source = SampleSource(*file);                   // PagedBuffer over the file's values
//   auto memory = SampleMemory::Create(*file);           // for a Get
#ifndef KVCOMPD_CLIENT_CTL_SAMPLE_H_
#define KVCOMPD_CLIENT_CTL_SAMPLE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/bound_check.h"
#include "client/kv_file.h"
#include "client/paged_buffer.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"

namespace kvcompd::client {

// path: STEM, STEM.json, STEM.kv.bf16.npy or STEM.kv.f16.npy. Errors as LoadKvFile.
absl::StatusOr<KvFile> LoadSample(const std::string& path);

struct SampleBlock {
  BlockKey key;
  BlockKey parent;
  uint32_t first_token = 0;  // in the sample
  uint32_t tokens = 0;
};

// The blocks that the sample holds; keys chain over its context. INVALID_ARGUMENT: the context is not whole
// blocks.
absl::StatusOr<std::vector<SampleBlock>> SampleBlocks(const KvFile& file, uint32_t tokens_per_block,
                                                      bool include_tail);
std::vector<BlockKey> KeysOf(std::span<const SampleBlock> blocks);

// The file's values in place; only to be read. The file outlives the buffer.
absl::StatusOr<PagedBuffer> SampleSource(const KvFile& file);
// Where a block lies in a buffer of one page that holds the whole sample.
BlockPlace PlaceOf(const PagedBuffer& buffer, const SampleBlock& block);

// Memory for all of a sample's values, [heads, tokens, channels] a layer.
class SampleMemory {
 public:
  static absl::StatusOr<std::unique_ptr<SampleMemory>> Create(const KvFile& file);
  SampleMemory(const SampleMemory&) = delete;
  SampleMemory& operator=(const SampleMemory&) = delete;

  const PagedBuffer& buffer() const { return *buffer_; }
  ByteSpan bytes() const { return bytes_; }  // [layers, 2, heads, tokens, channels]
  // One block's values, [heads, tokens of the block, channels].
  absl::StatusOr<std::vector<std::byte>> BlockValues(uint32_t layer, Tensor tensor,
                                                     const SampleBlock& block) const;
  // Fills everything, so that values of an earlier read are not taken for new ones.
  void Fill(std::byte value);

 private:
  SampleMemory() = default;
  std::vector<std::byte> bytes_;
  std::optional<PagedBuffer> buffer_;  // always there: Create sets it
};

// Every value of these blocks in memory against the file, within the bound of a profile.
absl::StatusOr<BoundReport> CheckBlocks(const KvFile& file, const SampleMemory& memory,
                                        std::span<const SampleBlock> blocks, const Profile& profile);

// An .npy file of the first `tokens` tokens, [layers, 2, tokens, kv_heads, head_dim], as samples are kept.
absl::Status WriteSampleNpy(const std::string& path, const KvFile& shape, const SampleMemory& memory,
                            uint32_t tokens);
absl::Status WriteFileBytes(const std::string& path, ByteSpan bytes);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SAMPLE_H_
