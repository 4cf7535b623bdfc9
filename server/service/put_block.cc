#include "server/service/put_block.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace kvcompd::server {
namespace {

constexpr uint64_t kAlign = 64;

uint64_t AlignUp(uint64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

}  // namespace

PutBlock::PutBlock(uint32_t index, std::unique_ptr<ShardStaging> staging,
                   std::unique_ptr<BlockEncoder> encoder)
    : index_(index),
      claim_(staging->claim()),
      staging_(std::move(staging)),
      encoder_(std::move(encoder)),
      num_segments_(encoder_->header().num_segments()) {}

PutBlock::PutBlock(uint32_t index, std::unique_ptr<ShardStaging> staging, const IngestExpectation& expected,
                   uint32_t num_segments)
    : index_(index),
      claim_(staging->claim()),
      staging_(std::move(staging)),
      expected_(expected),
      num_segments_(num_segments) {}

uint32_t PutBlock::num_parts() const { return encoded_form() ? num_segments_ + 2 : num_segments_; }

absl::Status PutBlock::AnnounceDecoded(const v1::PutChunk& chunk) const {
  const uint32_t layer = encoder_->header().shard.layer_begin + encoder_->segment_layer(part_);
  const Tensor tensor = encoder_->segment_tensor(part_);
  if (chunk.layer() != layer || static_cast<int>(chunk.tensor()) != static_cast<int>(tensor)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the next piece of the block is of layer ", layer, " ", std::string(TensorName(tensor)),
                     ", not of layer ", chunk.layer(), " tensor ", static_cast<int>(chunk.tensor()),
                     "; send pieces in order"));
  }
  if (const uint64_t want = encoder_->segment_raw_bytes(part_); chunk.total_bytes() != want) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer, " ", std::string(TensorName(tensor)),
                                                   " has ", want, " bytes, total_bytes says ",
                                                   chunk.total_bytes()));
  }
  return absl::OkStatus();
}

absl::Status PutBlock::AnnounceEncoded(const v1::PutChunk& chunk) const {
  const v1::ContainerPart want = part_ == 0                   ? v1::CONTAINER_HEADER
                                 : part_ == num_segments_ + 1 ? v1::CONTAINER_FOOTER
                                                              : v1::CONTAINER_SEGMENT;
  if (chunk.container_part() != want) {
    return absl::InvalidArgumentError(absl::StrCat("part ", part_, " of the container is its ",
                                                   v1::ContainerPart_Name(want),
                                                   "; send header, segments, footer"));
  }
  return absl::OkStatus();
}

absl::Status PutBlock::Announce(const v1::PutChunk& chunk) {
  if (part_ == num_parts()) return absl::InvalidArgumentError("all pieces of the block have come already");
  if (auto status = encoded_form() ? AnnounceEncoded(chunk) : AnnounceDecoded(chunk); !status.ok())
    return status;
  if (chunk.offset() != part_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a piece starts at byte ", chunk.offset(), ", the next one is at ", part_bytes_));
  }
  if (chunk.bytes() == 0 || chunk.bytes() > chunk.total_bytes() - part_bytes_ ||
      chunk.total_bytes() < part_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("a piece of ", chunk.bytes(), " bytes at ", part_bytes_,
                                                   " does not fit into ", chunk.total_bytes(), " bytes"));
  }
  part_bytes_ += chunk.bytes();
  if (part_bytes_ == chunk.total_bytes()) {
    ++part_;
    part_bytes_ = 0;
  }
  return absl::OkStatus();
}

absl::Status PutBlock::TakeIn(const v1::PutChunk& chunk, const BulkView& data, codec::Workspace& ws) {
  if (!claim_.Touch()) {
    return absl::AbortedError(
        "the put stood still for too long, or was taken over or flushed meanwhile; put the block again");
  }
  std::byte* target = nullptr;
  if (encoded_form()) {
    const MutableByteSpan memory = staging_->memory();
    if (taken_in_part_ == 0) {
      const uint64_t start = AlignUp(cursor_);
      if (start + chunk.total_bytes() > memory.size() || start + chunk.total_bytes() < start) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the container is longer than the ", memory.size(), " bytes its raw values allow"));
      }
      std::memset(memory.data() + cursor_, 0, start - cursor_);
      cursor_ = start;
    }
    if (chunk.bytes() > memory.size() - cursor_) {
      return absl::ResourceExhaustedError("a part of the container is longer than it first said");
    }
    target = memory.data() + cursor_;
  } else {
    target = encoder_->AssemblyArea(staging_->memory()).data() + taken_in_part_;
  }
  if (data.CopyWithCrc32c(target) != chunk.crc32c()) {
    return absl::DataLossError("a piece does not match its CRC32C; send the block again");
  }
  if (encoded_form()) cursor_ += chunk.bytes();
  taken_in_part_ += chunk.bytes();
  if (taken_in_part_ < chunk.total_bytes()) return absl::OkStatus();
  taken_in_part_ = 0;
  ++taken_parts_;
  return encoded_form() ? absl::OkStatus() : encoder_->EncodeNext(staging_->memory(), ws);
}

PutBlock::Outcome PutBlock::Commit(Store* store, codec::Workspace& ws) {
  Outcome outcome;
  absl::StatusOr<CommitInfo> info;
  if (taken_parts_ < num_parts()) {
    outcome.reason = Reason::kIncomplete;
    info = absl::FailedPreconditionError(absl::StrCat("only ", taken_parts_, " of ", num_parts(),
                                                      " parts of the block have come; send the rest first"));
  } else if (encoded_form()) {
    info = CheckContainer(*expected_, staging_->memory().subspan(0, cursor_), ws, &outcome.reason);
  } else {
    info = encoder_->Finish(staging_->memory());
    if (!info.ok()) outcome.reason = Reason::kMalformed;
  }
  if (!info.ok()) {
    outcome.status = info.status();
    Drop();
    return outcome;
  }
  auto reply = store->Commit(std::move(staging_), *info);
  if (!reply.ok()) {
    outcome.status = reply.status();
    outcome.reason = absl::IsAborted(reply.status())             ? Reason::kTimeout
                     : absl::IsResourceExhausted(reply.status()) ? Reason::kQuota
                                                                 : Reason::kMalformed;
    return outcome;
  }
  outcome.already_stored = reply->already_stored;
  outcome.generation = reply->generation;
  outcome.encoded_bytes = info->bytes;
  outcome.raw_bytes = info->raw_bytes;
  committed_ = outcome;
  return outcome;
}

void PutBlock::Drop() { staging_.reset(); }

}  // namespace kvcompd::server
