// CodebookCache: the codebook sets of one namespace, fetched once and kept by id. Thread-safe.
//
//   auto set = cache.Find(header.codebook_set, profile, deadline);   // zero id: the built-in set
//   auto current = cache.Current(profile, deadline);                 // what new blocks are encoded with
//
// A set is what its id says (SHA-256 of its bytes, checked) and of this namespace, or it is DATA_LOSS.
#ifndef KVCOMPD_CLIENT_CODEBOOK_CACHE_H_
#define KVCOMPD_CLIENT_CODEBOOK_CACHE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/cancellation.h"
#include "client/retry.h"
#include "codec/base/clock.h"
#include "codec/base/mutex.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/codebook.h"

namespace kvcompd::client {

class CodebookCache {
 public:
  using Set = std::shared_ptr<const codec::CodebookSet>;
  // Canonical bytes of the set with this id; of the current one for an empty id. An empty answer to that
  // stands for the built-in set.
  using CancelPtr = std::shared_ptr<Cancellation>;  // may be null
  using Fetch = std::function<absl::StatusOr<std::string>(const std::string& id, const Deadline& deadline,
                                                          const CancelPtr& cancel)>;

  CodebookCache(const Fingerprint& fingerprint, const Clock* clock, int64_t refresh_us, Fetch fetch);

  // The set that a stored block names; null for id zero: the built-in books (codec::FindBook).
  // NOT_FOUND: the daemon does not have it; DATA_LOSS; what the fetch says.
  absl::StatusOr<Set> Find(const Digest& id, const Deadline& deadline, const CancelPtr& cancel = nullptr);
  // The same for writers: the built-in set for id zero, null for a profile without books.
  absl::StatusOr<Set> Find(const Digest& id, const Profile& profile, const Deadline& deadline,
                           const CancelPtr& cancel = nullptr);
  // The set if it is here, else null; nobody is asked.
  Set Cached(const Digest& id);
  // Asks the daemon where the last answer for this profile is older than refresh_us. The built-in set where
  // the current one is of another profile.
  absl::StatusOr<Set> Current(const Profile& profile, const Deadline& deadline,
                              const CancelPtr& cancel = nullptr);
  // The store is another one: what it encodes with is asked for again.
  void ForgetCurrent();
  void Add(Set set);

 private:
  static constexpr size_t kMaxSets = 64;  // beyond that the oldest goes; the daemon keeps 16 alive
  absl::StatusOr<Set> FetchSet(const std::string& id, const Deadline& deadline, const CancelPtr& cancel);

  const Fingerprint fingerprint_;
  const Clock* const clock_;
  const int64_t refresh_us_;
  const Fetch fetch_;

  Mutex mutex_;  // not held during a fetch
  std::map<Digest, Set> sets_ ABSL_GUARDED_BY(mutex_);
  std::deque<Digest> order_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Set> built_in_ ABSL_GUARDED_BY(mutex_);  // by profile text
  struct Latest {
    Set set;
    int64_t at_us = 0;
  };
  std::map<std::string, Latest> current_ ABSL_GUARDED_BY(mutex_);  // by profile text
  uint64_t forgotten_ ABSL_GUARDED_BY(mutex_) = 0;  // times; an answer from before counts no more
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CODEBOOK_CACHE_H_
