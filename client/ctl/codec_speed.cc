#include "client/ctl/codec_speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/bench_baseline.h"
#include "client/ctl/speed_subject.h"

namespace kvcompd::client {
namespace {

constexpr uint64_t kCacheResidentBytes = 256 << 10;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

enum class Op { kEncode, kDecode };

// Runs one subject over the units, where the last call stopped.
class Runner {
 public:
  Runner(SpeedUnits* units, uint32_t threads, size_t num_units)
      : units_(units), threads_(threads), num_units_(num_units), cursors_(threads, 0) {}

  // GB/s of all threads together.
  double Measure(SpeedSubject& subject, Op op, double seconds) {
    std::atomic<uint64_t> done{0};
    const auto begin = std::chrono::steady_clock::now();
    const auto deadline = begin + std::chrono::duration<double>(seconds);
    const auto run = [&](uint32_t thread) {
      const size_t first = num_units_ * thread / threads_, end = num_units_ * (thread + 1) / threads_;
      size_t& cursor = cursors_[thread];
      uint64_t bytes = 0;
      do {
        const size_t unit = first + cursor;
        if (op == Op::kEncode) {
          subject.Encode(thread, unit);
        } else {
          subject.Decode(thread, unit);
        }
        bytes += units_->unit_bytes();
        cursor = first + cursor + 1 < end ? cursor + 1 : 0;
      } while (std::chrono::steady_clock::now() < deadline);
      done += bytes;
    };
    std::vector<std::thread> others;
    for (uint32_t t = 1; t < threads_; ++t) others.emplace_back(run, t);
    run(0);
    for (std::thread& thread : others) thread.join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(done.load()) / took.count() / 1e9;
  }

 private:
  SpeedUnits* units_;
  const uint32_t threads_;
  const size_t num_units_;
  std::vector<size_t> cursors_;
};

// One residence and number of threads.
class Setting {
 public:
  Setting(SpeedUnits* units, uint32_t threads, bool memory_resident, const SpeedOptions& options)
      : options_(options),
        memory_resident_(memory_resident),
        threads_(threads),
        runner_(units, threads,
                memory_resident
                    ? units->num_units()
                    : std::min<size_t>(
                          units->num_units(),
                          std::max<uint64_t>(1, kCacheResidentBytes / units->unit_bytes()) * threads)) {}

  SpeedRow Measure(SpeedSubject& subject, SpeedSubject& zstd, SpeedSubject& memcpy_subject) {
    SpeedRow row{.name = subject.name(),
                 .threads = threads_,
                 .memory_resident = memory_resident_,
                 .ratio = subject.ratio()};
    std::vector<double> encode, decode, over_zstd_encode, over_zstd_decode, over_memcpy;
    Once(subject, Op::kEncode);  // warm up
    for (uint32_t r = 0; r < options_.repeats; ++r) {
      const double e = Once(subject, Op::kEncode), ze = Once(zstd, Op::kEncode);
      const double d = Once(subject, Op::kDecode), zd = Once(zstd, Op::kDecode);
      const double copy = Once(memcpy_subject, Op::kDecode);
      encode.push_back(e);
      decode.push_back(d);
      over_zstd_encode.push_back(e / ze);
      over_zstd_decode.push_back(d / zd);
      over_memcpy.push_back(d / copy);
    }
    row.encode_gbps = Median(encode);
    row.decode_gbps = Median(decode);
    row.encode_over_zstd = Median(over_zstd_encode);
    row.decode_over_zstd = Median(over_zstd_decode);
    row.decode_over_memcpy = Median(over_memcpy);
    return row;
  }

 private:
  double Once(SpeedSubject& subject, Op op) { return runner_.Measure(subject, op, options_.seconds); }

  const SpeedOptions& options_;
  const bool memory_resident_;
  const uint32_t threads_;
  Runner runner_;
};

}  // namespace

absl::StatusOr<SpeedReport> MeasureSpeed(const BenchDataset& dataset, const std::vector<Profile>& profiles,
                                         const SpeedOptions& options,
                                         const std::function<void(const std::string&)>& progress) {
  std::vector<uint32_t> thread_counts = options.threads;
  if (thread_counts.empty()) {
    thread_counts.push_back(1);
    const uint32_t cores = std::thread::hardware_concurrency();
    if (cores > 1) thread_counts.push_back(cores);
  }
  const uint32_t max_threads = *std::max_element(thread_counts.begin(), thread_counts.end());
  SpeedUnits units(dataset, options.memory ? 2 * LastLevelCacheBytes() : kCacheResidentBytes * max_threads);
  const auto zstd = ZstdSubject(&units, max_threads, 3), memcpy_subject = MemcpySubject(&units, false);
  const auto checked = MemcpySubject(&units, true), lz4 = Lz4Subject(&units);

  SpeedReport report{.dataset = dataset.name, .dtype = dataset.dtype};
  const auto measure = [&](SpeedSubject& subject, bool baseline) {
    for (const uint32_t threads : thread_counts) {
      for (const bool memory : {false, true}) {
        if (!(memory ? options.memory : options.cache)) continue;
        SpeedRow row = Setting(&units, threads, memory, options).Measure(subject, *zstd, *memcpy_subject);
        row.baseline = baseline;
        report.rows.push_back(std::move(row));
      }
    }
  };
  for (const Profile& profile : profiles) {
    if (progress) progress(absl::StrCat("speed of ", ToAbsl(profile.Text())));
    auto subject = CodecSubject(&units, max_threads, profile);
    if (!subject.ok()) return subject.status();
    measure(**subject, false);
    if ((*subject)->failed()) return absl::InternalError(absl::StrCat((*subject)->name(), " failed"));
  }
  for (SpeedSubject* baseline : {memcpy_subject.get(), checked.get(), zstd.get(), lz4.get()}) {
    if (progress) progress(absl::StrCat("speed of ", baseline->name()));
    measure(*baseline, true);
  }
  for (const SpeedSubject* subject : {zstd.get(), lz4.get()}) {
    if (subject->failed()) return absl::InternalError(absl::StrCat(subject->name(), " failed"));
  }
  return report;
}

}  // namespace kvcompd::client
