// BenchClient: one connection of `kvcompctl bench serve` and the calls that it makes: Get and Put of a run of
// blocks in one of four forms, on memory of its own.
//
// One thread at a time; every client of a benchmark has its own connection, hence its own stream.
//
//   auto client = BenchClient::Connect(options, blocks, /*number=*/0);
//   (*client)->StoreShared(forms);                                  // once, by any of them
//   auto wire_bytes = (*client)->Get(BenchForm::kRaw, /*first=*/0, /*count=*/16);
#ifndef KVCOMPD_CLIENT_CTL_BENCH_LOAD_H_
#define KVCOMPD_CLIENT_CTL_BENCH_LOAD_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/ctl/bench_blocks.h"
#include "client/namespace_handle.h"

namespace kvcompd::client {

inline constexpr char kBenchRawProfile[] = "raw";
inline constexpr char kBenchLossyProfile[] = "kvcomp:rel_k=0.05,rel_v=0.1";

enum class BenchForm {
  kRaw,      // stored as profile raw; values on the wire
  kReady,    // stored as kBenchLossyProfile; ready containers on the wire: the client verifies and runs no
             // codec
  kCodec,    // the same, but the client encodes what it puts and decodes what it gets
  kDecoded,  // stored as kBenchLossyProfile; values on the wire, the daemon runs the codec
};
std::string_view BenchFormName(BenchForm form);  // "raw", "ready", "codec", "decoded"
absl::StatusOr<BenchForm> ParseBenchForm(std::string_view name);
// What is on the wire: "raw", "encoded", "decoded".
std::string_view BenchWireForm(BenchForm form);
const char* BenchFormProfile(BenchForm form);

class BenchClient {
 public:
  // Blocks that a client puts again and again. Their keys are its own.
  static constexpr uint32_t kPutBlocks = 64;

  // `blocks` outlives it. number: 0 and up, different for each client.
  static absl::StatusOr<std::unique_ptr<BenchClient>> Connect(const ClientOptions& options,
                                                              const BenchBlocks& blocks, uint32_t number);

  uint32_t target_blocks() const { return target_->count(); }
  // Bytes of one encoded block, as put or got last; 0 where there was none.
  uint64_t encoded_block_bytes() const { return encoded_block_bytes_; }

  // Puts all blocks that Get reads in these forms, with books trained on them where the profile has books,
  // and reads them back: DATA_LOSS where a raw block differs from what was put, or the forms differ from each
  // other.
  absl::Status StoreShared(std::span<const BenchForm> forms);
  // Deletes them.
  absl::Status ForgetShared();
  // Gets the containers that Put(kReady) sends.
  absl::Status PrepareEncodedPut();

  // Blocks [first, first + count), wrapping around, in one call; every value that comes is written to this
  // client's memory (kReady: every checksum is verified, nothing decoded). Returns bytes of values or
  // containers that were sent. UNAVAILABLE where a block is missing.
  absl::StatusOr<uint64_t> Get(BenchForm form, uint64_t first, uint32_t count);
  // Puts this client's blocks [first, first + count), wrapping around, in one call. Returns bytes as above.
  // count: at most kPutBlocks.
  absl::StatusOr<uint64_t> Put(BenchForm form, uint64_t first, uint32_t count);
  // Deletes them, so that they can be put again.
  absl::Status Forget(BenchForm form, uint64_t first, uint32_t count);

 private:
  BenchClient(const BenchBlocks& blocks, uint32_t number) : blocks_(blocks), number_(number) {}
  NamespaceHandle& ns(BenchForm form) { return form == BenchForm::kRaw ? *raw_ : *lossy_; }
  std::vector<BlockKey> PutKeys(uint64_t first, uint32_t count) const;
  absl::Status StoreAll(NamespaceHandle& ns);
  absl::Status CheckRaw();
  absl::Status CheckLossy();
  // Block `index` of `want` against block `block` of target_.
  bool Differs(const BenchMemory& want, uint32_t index, uint32_t block) const;

  const BenchBlocks& blocks_;
  const uint32_t number_;
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> raw_;
  std::shared_ptr<NamespaceHandle> lossy_;
  std::unique_ptr<BenchMemory> target_;
  std::vector<std::string> containers_;  // [kPutBlocks], after PrepareEncodedPut
  uint64_t encoded_block_bytes_ = 0;
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_LOAD_H_
