#include "codec/base/mutex.h"

namespace kvcompd {

class Account {
 public:
  void Add(int n) {
#ifndef KVCOMPD_PLANT_UNGUARDED_ACCESS
    MutexLock lock(&mutex_);
#endif
    value_ += n;
  }

 private:
  Mutex mutex_;
  int value_ ABSL_GUARDED_BY(mutex_) = 0;
};

void Use(Account* account) { account->Add(1); }

}  // namespace kvcompd
