// The whole job in one file: put one block from a paged KV cache, find it by its tokens, read it back.
//
//   hello_kv 127.0.0.1:50051
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "client/client.h"
#include "codec/base/chain_hash.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kLayers = 4, kHeads = 8, kHeadDim = 128, kPageTokens = 16, kPages = 8;

absl::Status Run(const std::string& address) {
  // What the bytes mean. Workers that agree in it share blocks.
  ModelDescriptor model;
  model.model_id = "example/model";
  model.weights_version = "r1";
  model.groups = {
      {.layers = {0, 1, 2, 3}, .kv_heads = kHeads, .head_dim_k = kHeadDim, .head_dim_v = kHeadDim}};

  ClientOptions client_options;
  client_options.address = address;
  auto client = Client::Connect(client_options);
  if (!client.ok()) return client.status();
  v1::NamespacePolicy policy;
  policy.set_profile("kvcomp:rel_k=0.05,rel_v=0.1");  // without it, blocks are stored bit-exact
  auto ns = (*client)->OpenNamespace(model, policy);
  if (!ns.ok()) return ns.status();

  // The engine's pages: K and V of each layer, [num_pages, page_tokens, heads, head_dim], bf16.
  const size_t layer_bytes = size_t{kPages} * kPageTokens * kHeads * kHeadDim * 2;
  std::vector<std::vector<std::byte>> memory(2 * kLayers, std::vector<std::byte>(layer_bytes));
  PagedBuffer::Options kv{.heads = kHeads,
                          .head_dim_k = kHeadDim,
                          .head_dim_v = kHeadDim,
                          .page_tokens = kPageTokens,
                          .num_pages = kPages};
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    kv.k.push_back(memory[2 * layer].data());
    kv.v.push_back(memory[2 * layer + 1].data());
  }
  auto pages = PagedBuffer::Create(kv);
  if (!pages.ok()) return pages.status();

  // Prefill worker: the first 64 tokens lie in pages 7, 3, 0 and 5.
  std::vector<uint32_t> token_ids(64);
  std::iota(token_ids.begin(), token_ids.end(), 100);
  const std::vector<BlockKey> keys = ChainKeys(token_ids, model.tokens_per_block);
  const PutBlock put{.key = keys[0], .tokens = 64, .source = {.buffer = &*pages, .pages = {7, 3, 0, 5}}};
  auto stored = (*ns)->PutBlocks({&put, 1}, {});
  if (!stored.ok()) return stored.status();
  if (!stored->front().status.ok()) return stored->front().status;

  // Decode worker: the longest stored prefix, leased while it is read, into pages 1, 2, 4 and 6.
  auto match = (*ns)->Match(keys, {.lease = true});
  if (!match.ok()) return match.status();
  const GetBlock get{.key = keys[0], .target = {.buffer = &*pages, .pages = {1, 2, 4, 6}}};
  const GetOptions options{.form = Form::kEncoded, .lease_id = match->lease.id()};
  auto got = (*ns)->GetBlocks({&get, 1}, options, [](const LayerDone& done) {
    // A layer that is not OK is not in the pages, and none after it will be.
    if (done.status.ok()) std::printf("layer %u is there\n", done.layer);
  });
  if (!got.ok()) return got.status();
  std::printf("stored %llu of %llu bytes\n", static_cast<unsigned long long>(stored->front().encoded_bytes),
              static_cast<unsigned long long>(stored->front().raw_bytes));
  return got->front().status;
}

}  // namespace
}  // namespace kvcompd::client

int main(int argc, char** argv) {
  const absl::Status status = kvcompd::client::Run(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
