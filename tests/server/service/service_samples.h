// A small model, blocks whose values follow from (block, layer, tensor, head, token, channel), and the
// messages that put and get them: for the tests of the service, recorded calls and fuzz corpora.
//
// Pure functions. They end the process where encoding fails: the callers are tests and generators.
#ifndef KVCOMPD_TESTS_SERVER_SERVICE_SERVICE_SAMPLES_H_
#define KVCOMPD_TESTS_SERVER_SERVICE_SERVICE_SAMPLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd::server {

// 4 layers (numbers 2, 3, 5, 7), 4 KV heads, 16 channels of K and 8 of V, bf16, 64 tokens a block.
ModelDescriptor ServiceModel();
inline constexpr uint32_t kLayers = 4;
inline constexpr uint32_t kHeads = 4;
inline constexpr uint32_t kTokens = 64;
inline constexpr char kKvcomp[] = "kvcomp:rel_k=0.05,rel_v=0.1";
ShardRange WholeShard();

inline constexpr int kFirstNanBlock =
    9000;  // blocks from here on hold NaN only, which no codec makes smaller
std::string KeyOf(int block);
std::string PutIdOf(int number);
// Heads of one layer (an index, not a number): [heads, tokens, channels].
std::string ExpectedValues(int block, const ShardRange& shard, uint32_t layer, Tensor tensor,
                           uint32_t tokens = kTokens, uint32_t first_token = 0);
// One container of the shard's expected values, as a client makes it.
std::string EncodeBlock(int block, const ShardRange& shard, const std::string& profile,
                        const Fingerprint& fingerprint, const std::string& salt = "",
                        uint32_t tokens = kTokens);
// Largest |x-y| of two tensors of bf16, and the range of the first.
double MaxDifference(const std::string& x, const std::string& y);
double RangeOf(const std::string& x);

struct PutSpec {
  std::string ns;
  std::vector<int> blocks;
  ShardRange shard = WholeShard();
  bool encoded = false;
  std::string profile = "raw";  // ENCODED only
  std::string salt;
  uint32_t tokens = kTokens;
  int put_id = 1;
  uint64_t piece_bytes = uint64_t{1} << 20;
  // ENCODED only: of another model than ServiceModel(), or other bytes than the right ones.
  Fingerprint fingerprint = ServiceModel().Fingerprint();
};
v1::PutRequest HeaderOf(const PutSpec& spec);
// All pieces of one block, one message each.
std::vector<v1::PutRequest> PiecesOf(const PutSpec& spec, uint32_t index);
// The pieces of a container that need not be sound.
std::vector<v1::PutRequest> PiecesOfContainer(const std::string& container, uint32_t index,
                                              uint64_t piece_bytes = uint64_t{1} << 20);
v1::PutRequest CommitOf(const std::vector<uint32_t>& blocks);

v1::GetRequest GetOf(const std::string& ns, const std::vector<int>& blocks,
                     const ShardRange& shard = WholeShard(), v1::Form form = v1::FORM_DECODED);

}  // namespace kvcompd::server

#endif  // KVCOMPD_TESTS_SERVER_SERVICE_SERVICE_SAMPLES_H_
