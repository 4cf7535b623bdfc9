#include "client/codebook_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvcompd::client {

CodebookCache::CodebookCache(const Fingerprint& fingerprint, const Clock* clock, int64_t refresh_us,
                             Fetch fetch)
    : fingerprint_(fingerprint), clock_(clock), refresh_us_(refresh_us), fetch_(std::move(fetch)) {}

absl::StatusOr<CodebookCache::Set> CodebookCache::FetchSet(const std::string& id, const Deadline& deadline,
                                                           const CancelPtr& cancel) {
  auto bytes = fetch_(id, deadline, cancel);
  if (!bytes.ok()) return bytes.status();
  if (bytes->empty() && id.empty()) return Set();
  auto set = codec::CodebookSet::Parse(*bytes);
  if (!set.ok()) return set.status();
  if (!id.empty() && (*set)->id().view() != id) {
    return absl::DataLossError("the daemon sent another codebook set than the one asked for");
  }
  if ((*set)->fingerprint() != fingerprint_ && !(*set)->fingerprint().IsZero()) {
    return absl::DataLossError("the daemon sent a codebook set of another model");
  }
  return *set;
}

void CodebookCache::Add(Set set) {
  if (set == nullptr || set->fingerprint().IsZero()) return;  // built-in sets have no need of it
  MutexLock lock(&mutex_);
  if (!sets_.emplace(set->id(), set).second) return;
  order_.push_back(set->id());
  if (order_.size() <= kMaxSets) return;
  sets_.erase(order_.front());
  order_.pop_front();
}

absl::StatusOr<CodebookCache::Set> CodebookCache::Find(const Digest& id, const Profile& profile,
                                                       const Deadline& deadline, const CancelPtr& cancel) {
  if (profile.codec == CodecId::kRaw) return Set();
  {
    MutexLock lock(&mutex_);
    if (id.IsZero()) {
      Set& set = built_in_[profile.Text()];
      if (set == nullptr) set = codec::CodebookSet::BuiltIn(profile);
      return set;
    }
  }
  return Find(id, deadline, cancel);
}

absl::StatusOr<CodebookCache::Set> CodebookCache::Find(const Digest& id, const Deadline& deadline,
                                                       const CancelPtr& cancel) {
  if (id.IsZero()) return Set();
  {
    MutexLock lock(&mutex_);
    if (auto it = sets_.find(id); it != sets_.end()) return it->second;
  }
  auto set = FetchSet(std::string(id.view()), deadline, cancel);
  if (!set.ok()) {
    return absl::Status(set.status().code(),
                        absl::StrCat("codebook set ", id.Hex(), ": ", set.status().message()));
  }
  Add(*set);
  return *set;
}

CodebookCache::Set CodebookCache::Cached(const Digest& id) {
  MutexLock lock(&mutex_);
  const auto it = sets_.find(id);
  return it == sets_.end() ? nullptr : it->second;
}

void CodebookCache::ForgetCurrent() {
  MutexLock lock(&mutex_);
  current_.clear();
  ++forgotten_;
}

absl::StatusOr<CodebookCache::Set> CodebookCache::Current(const Profile& profile, const Deadline& deadline,
                                                          const CancelPtr& cancel) {
  if (profile.codec == CodecId::kRaw) return Set();
  const std::string text = profile.Text();
  const int64_t now_us = clock_->NowUs();
  uint64_t forgotten = 0;
  {
    MutexLock lock(&mutex_);
    forgotten = forgotten_;
    auto it = current_.find(text);
    if (it != current_.end() && now_us - it->second.at_us < refresh_us_) return it->second.set;
  }
  auto set = FetchSet("", deadline, cancel);
  if (absl::IsNotFound(set.status())) set = Set();  // the namespace's own profile has no books
  if (!set.ok()) {
    return absl::Status(set.status().code(), absl::StrCat("current codebook set: ", set.status().message()));
  }
  if (*set == nullptr || (*set)->profile_text() != text) {
    set = Find(Digest(), profile, deadline, cancel);
    if (!set.ok()) return set.status();
  }
  Add(*set);
  MutexLock lock(&mutex_);
  if (forgotten == forgotten_) current_[text] = {*set, now_us};
  return *set;
}

}  // namespace kvcompd::client
