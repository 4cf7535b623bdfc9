// CodebookRegistry: the codebook sets of one namespace (DESIGN rules in codec/FORMAT.md, "Codebook set").
//
// The built-in set serves until enough codes were seen; then a set is trained from them, and again after
// each further eightfold of samples where it would save at least 2 % of bits. A set lives while it is current
// or a block names it; at most kMaxLive at once: beyond that no refresh happens and uploads are refused.
//
// Called by the encode and serve paths. Thread-safe. Current and Find never wait for a training: a set is
// built outside the locks and then made current at once.
//
//   auto set = ns->codebooks().Current(profile);
//   encode with set->Find(layer, tensor), collect histograms
//   ns->codebooks().AddSamples(profile, layer, tensor, histogram);
#ifndef KVCOMPD_SERVER_STORE_CODEBOOK_REGISTRY_H_
#define KVCOMPD_SERVER_STORE_CODEBOOK_REGISTRY_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "codec/base/mutex.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"

namespace kvcompd::server {

class CodebookRegistry {
 public:
  static constexpr size_t kMaxLive = 16;
  static constexpr size_t kMaxUploaded = 4;   // held although no block names them yet
  static constexpr size_t kMaxProfiles = 64;  // further ones get built-in sets only
  static constexpr uint64_t kFirstTrainingSamples = uint64_t{1} << 20;  // codes, all layers together
  static constexpr uint64_t kRefreshFactor = 8;   // of samples, from one training to the next
  static constexpr uint64_t kRefreshPercent = 2;  // of bits that a refresh must save

  static constexpr uint64_t kMaxUploadedBytes = uint64_t{256} << 20;  // of all registries together

  // layers: that the model has. uploaded_bytes: memory of uploaded sets, of all registries; may be null.
  explicit CodebookRegistry(const Fingerprint& fingerprint, uint32_t layers = 1024,
                            std::atomic<uint64_t>* uploaded_bytes = nullptr);
  ~CodebookRegistry();

  // The set to encode new blocks of this profile with; null for profiles without books.
  std::shared_ptr<const codec::CodebookSet> Current(const Profile& profile);
  // A live set of this profile, or its built-in one for a zero id (null for profiles without books). Null:
  // there is none.
  std::shared_ptr<const codec::CodebookSet> Find(const Digest& id, const Profile& profile);
  // NOT_FOUND where no live set has this id (for GetCodebooks, which knows no profile).
  absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> FindById(const Digest& id);
  // From a client. DATA_LOSS malformed; FAILED_PRECONDITION another fingerprint; INVALID_ARGUMENT more books
  // than the model can use; RESOURCE_EXHAUSTED too many sets, or too much memory in uploaded ones. It is held
  // while the caller or a block does, and among the newest kMaxUploaded.
  absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> Upload(std::string_view canonical_bytes);
  // Uploaded sets live on only where a caller or a block holds them.
  void ForgetUploads();
  // Adds what an encode counted; may train a new current set. counts: [256].
  void AddSamples(const Profile& profile, uint32_t layer, Tensor tensor, std::span<const uint32_t> counts);
  size_t live() const;  // without built-in sets

 private:
  using SetPtr = std::shared_ptr<const codec::CodebookSet>;
  struct PerProfile;

  std::shared_ptr<PerProfile> ProfileState(const Profile& profile);  // null: one too many
  // Builds a set of all samples so far and makes it current where that pays.
  void Train(PerProfile* state, const codec::CodebookTrainer& samples);
  bool HasRoom() ABSL_LOCKS_EXCLUDED(mutex_);
  size_t PruneAndCount() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same set, counted until its last reference goes; null where that would be too much.
  SetPtr Counted(SetPtr set) const;

  const Fingerprint fingerprint_;
  const size_t max_books_;
  std::atomic<uint64_t>* const uploaded_bytes_;
  // Lock order: a PerProfile's, then this one.
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<PerProfile>> profiles_ ABSL_GUARDED_BY(mutex_);
  std::map<Digest, std::weak_ptr<const codec::CodebookSet>> live_ ABSL_GUARDED_BY(mutex_);
  std::deque<SetPtr> uploaded_ ABSL_GUARDED_BY(mutex_);  // oldest first
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_CODEBOOK_REGISTRY_H_
