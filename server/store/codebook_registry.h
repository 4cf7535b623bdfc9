// CodebookRegistry: the codebook sets of one namespace (DESIGN rules in codec/FORMAT.md, "Codebook set").
//
// The built-in set serves until enough codes were seen; then a set is trained from them, and again after
// each further eightfold of samples where it would save at least 2 % of bits. A set lives while it is current
// or a block names it; at most kMaxLive at once: beyond that no refresh happens and uploads are refused.
//
// Thread-safe.
#ifndef KVCOMPD_SERVER_STORE_CODEBOOK_REGISTRY_H_
#define KVCOMPD_SERVER_STORE_CODEBOOK_REGISTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "codec/base/mutex.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"

namespace kvcompd::server {

class CodebookRegistry {
 public:
  static constexpr size_t kMaxLive = 16;
  static constexpr uint64_t kFirstTrainingSamples = uint64_t{1} << 20;  // codes, all layers together

  explicit CodebookRegistry(const Fingerprint& fingerprint);

  // The set to encode new blocks of this profile with; null for profiles without books.
  std::shared_ptr<const codec::CodebookSet> Current(const Profile& profile);
  // A live set, or the profile's built-in one for a zero id. NOT_FOUND.
  std::shared_ptr<const codec::CodebookSet> Find(const Digest& id, const Profile& profile);
  // NOT_FOUND where no live set has this id (for GetCodebooks, which knows no profile).
  absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> FindById(const Digest& id);
  // From a client. DATA_LOSS malformed; FAILED_PRECONDITION another fingerprint; RESOURCE_EXHAUSTED too many.
  absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> Upload(std::string_view canonical_bytes);
  // Adds what an encode counted; may train a new current set. counts: [256].
  void AddSamples(const Profile& profile, uint32_t layer, Tensor tensor, std::span<const uint32_t> counts);
  size_t live() const;

 private:
  struct PerProfile;
  const Fingerprint fingerprint_;
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<PerProfile>> profiles_ ABSL_GUARDED_BY(mutex_);
  std::map<Digest, std::weak_ptr<const codec::CodebookSet>> live_ ABSL_GUARDED_BY(mutex_);
  // Uploaded sets are held for a while even before a block names them: the newest few.
  std::map<Digest, std::shared_ptr<const codec::CodebookSet>> uploaded_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_STORE_CODEBOOK_REGISTRY_H_
