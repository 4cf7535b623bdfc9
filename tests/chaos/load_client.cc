// A client process to be killed: load_client ADDRESS MODE SEED
//
//   put-stall   opens a put, pushes half of the layers, says so and waits for ever
//   put-load    puts batch after batch, and says so at every layer
//   get-stall   opens a get over many blocks, takes one layer, says so and reads no more
//   get-load    gets them again and again, and says so at every layer
//
// It says so by a byte on standard output. Exit code 1: something failed, and standard error says what.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "tests/chaos/expected_block.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kLayers = 16;  // a block is 1 MiB
constexpr uint32_t kBlocks = 32;  // more than a connection's windows hold

class LoadClient {
 public:
  LoadClient(NamespaceHandle& ns, uint64_t seed) : ns_(ns), seed_(seed), memory_(kLayers, kBlocks) {}

  absl::Status Put(bool stall) {
    for (uint64_t round = 0;; ++round) {
      const std::vector<PutBlock> blocks = Blocks(round);
      auto put = ns_.OpenPut(blocks, PutOptions{});
      if (!put.ok()) return put.status();
      std::vector<BlockPlace> places;
      for (const PutBlock& block : blocks) places.push_back(block.source);
      for (uint32_t layer = 0; layer < kLayers; ++layer) {
        if (stall && layer == kLayers / 2) {
          Say();
          pause();
        }
        const absl::Status status = (*put)->PushLayer(layer, places);
        if (!status.ok()) return status;
        if (!stall) Say();
      }
      const auto results = (*put)->Finish();
      if (!results.ok()) return results.status();
    }
  }

  absl::Status Get(bool stall) {
    const std::vector<PutBlock> stored = Blocks(0);
    const auto results = ns_.PutBlocks(stored, PutOptions{});
    if (!results.ok()) return results.status();
    while (true) {
      std::vector<GetBlock> blocks;
      for (const PutBlock& block : stored) blocks.push_back({.key = block.key, .target = block.source});
      auto get = ns_.OpenGet(std::move(blocks), GetOptions{});
      if (!get.ok()) return get.status();
      LayerDone done;
      while ((*get)->Next(&done)) {
        if (!done.status.ok()) return done.status;
        Say();
        if (stall) pause();
      }
    }
  }

 private:
  std::vector<PutBlock> Blocks(uint64_t round) {
    std::vector<PutBlock> blocks;
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const BlockKey key = ChaosKey(seed_, round * kBlocks + i);
      memory_.Fill(i, key);
      blocks.push_back({.key = key, .tokens = kChaosTokens, .source = memory_.place(i)});
    }
    return blocks;
  }
  void Say() {
    const char byte = '.';
    if (write(STDOUT_FILENO, &byte, 1) != 1) std::exit(1);
  }

  NamespaceHandle& ns_;
  const uint64_t seed_;
  ChaosMemory memory_;
};

absl::Status Run(const std::string& address, const std::string& mode, uint64_t seed) {
  auto client = Client::Connect({.address = address, .tenant = "chaos"});
  if (!client.ok()) return client.status();
  v1::NamespacePolicy policy;
  policy.set_profile("raw");
  const auto ns = (*client)->OpenNamespace(ChaosModel(kLayers), policy);
  if (!ns.ok()) return ns.status();
  LoadClient load(**ns, seed);
  if (mode == "put-stall" || mode == "put-load") return load.Put(mode == "put-stall");
  return load.Get(mode == "get-stall");
}

}  // namespace
}  // namespace kvcompd::client

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: load_client ADDRESS MODE SEED\n";
    return 2;
  }
  const absl::Status status = kvcompd::client::Run(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
  std::cerr << status << "\n";
  return 1;
}
