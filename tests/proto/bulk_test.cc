#include "proto/bulk.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "codec/base/crc32c.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd {
namespace {

constexpr size_t kBulkTagBytes = 2;  // 1000 << 3 | 2 as a varint

v1::PutRequest Sample(const std::string& data = "0123456789abcdef") {
  v1::PutRequest request;
  auto* chunk = request.add_chunks();
  chunk->set_block(3);
  chunk->set_layer(300);
  chunk->set_bytes(data.size());
  chunk->set_crc32c(0xdeadbeef);
  request.mutable_commit()->add_blocks(7);
  request.set_data(data);
  return request;
}

// The bytes cut into slices at these places.
grpc::ByteBuffer Cut(const std::string& bytes, const std::vector<size_t>& cuts) {
  std::vector<grpc::Slice> slices;
  size_t at = 0;
  for (size_t cut : cuts) {
    slices.emplace_back(bytes.substr(at, cut - at));
    at = cut;
  }
  slices.emplace_back(bytes.substr(at));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string BytesOf(const BulkView& bulk) {
  std::string out(bulk.bytes(), '\0');
  bulk.CopyTo(reinterpret_cast<std::byte*>(out.data()));
  return out;
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string out;
  for (const auto& s : slices) out.append(reinterpret_cast<const char*>(s.begin()), s.size());
  return out;
}

absl::Status Decode(const std::string& bytes, v1::PutRequest* request, BulkView* bulk) {
  return DecodeBulk(Cut(bytes, {}), request, bulk);
}

TEST(BulkTest, EncodesWhatProtobufReads) {
  const v1::PutRequest want = Sample();
  v1::PutRequest head = want;
  head.clear_data();
  const std::vector<grpc::Slice> slices = {grpc::Slice("0123"), grpc::Slice(""), grpc::Slice("456789abcdef")};
  const std::string bytes = BytesOf(EncodeBulk(head, slices));
  v1::PutRequest got;
  ASSERT_TRUE(got.ParseFromString(bytes));
  EXPECT_EQ(got.SerializeAsString(), want.SerializeAsString());
  // And without bulk bytes.
  ASSERT_TRUE(got.ParseFromString(BytesOf(EncodeBulk(head, {}))));
  EXPECT_EQ(got.SerializeAsString(), head.SerializeAsString());
}

TEST(BulkTest, DecodesWhatProtobufWritesCutAtEveryPlace) {
  const v1::PutRequest want = Sample();
  const std::string bytes = want.SerializeAsString();
  for (size_t a = 0; a <= bytes.size(); ++a) {
    for (size_t b = a; b <= bytes.size(); ++b) {
      v1::PutRequest head;
      BulkView bulk;
      ASSERT_TRUE(DecodeBulk(Cut(bytes, {a, b}), &head, &bulk).ok()) << a << " " << b;
      EXPECT_TRUE(head.data().empty());
      EXPECT_EQ(BytesOf(bulk), want.data());
      head.set_data(BytesOf(bulk));
      EXPECT_EQ(head.SerializeAsString(), bytes);
    }
  }
}

TEST(BulkTest, TakesPiecesOffOverSlices) {
  std::string data(100'000, '\0');
  std::mt19937 random(3);
  for (char& c : data) c = static_cast<char>(random());
  const v1::PutRequest want = Sample(data);
  v1::PutRequest head;
  BulkView bulk;
  ASSERT_TRUE(DecodeBulk(Cut(want.SerializeAsString(), {40, 41, 5000, 70'000}), &head, &bulk).ok());
  EXPECT_EQ(bulk.Crc32c(), Crc32c(AsBytes(data)));
  std::string copy(data.size(), '\0');
  EXPECT_EQ(bulk.CopyWithCrc32c(reinterpret_cast<std::byte*>(copy.data())), Crc32c(AsBytes(data)));
  EXPECT_EQ(copy, data);
  const BulkView whole = bulk;
  size_t offset = 0;
  for (size_t bytes :
       {size_t{0}, size_t{1}, size_t{4995}, size_t{8}, size_t{65'001}, size_t{29'995}, size_t{0}}) {
    const BulkView part = bulk.TakeFront(bytes);
    EXPECT_EQ(part.bytes(), bytes);
    EXPECT_EQ(BytesOf(part), data.substr(offset, bytes));
    offset += bytes;
    EXPECT_EQ(bulk.bytes(), data.size() - offset);
    EXPECT_EQ(BytesOf(bulk), data.substr(offset));
    EXPECT_EQ(bulk.Crc32c(), Crc32c(AsBytes(std::string_view(data).substr(offset))));
  }
  EXPECT_TRUE(bulk.empty());
  EXPECT_EQ(BytesOf(whole), data);
  const BulkView none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.Crc32c(), 0u);
}

TEST(BulkTest, ReferencesAndDoesNotCopy) {
  auto owner = std::make_shared<std::string>(1 << 20, 'x');
  std::weak_ptr<std::string> alive = owner;
  v1::GetResponse head;
  const grpc::Slice slice = SliceOf(AsBytes(*owner), owner);
  grpc::ByteBuffer buffer = EncodeBulk(head, {{slice}});
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(buffer.Dump(&slices).ok());
  EXPECT_EQ(static_cast<const void*>(slices.back().begin()), owner->data());
  owner.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(slices.back().begin()[5], 'x');
}

TEST(BulkTest, TheOwnerGoesWithTheLastSlice) {
  auto owner = std::make_shared<std::string>(100, 'x');
  std::weak_ptr<std::string> alive = owner;
  {
    const grpc::Slice slice = SliceOf(AsBytes(*owner), owner);
    owner.reset();
    EXPECT_FALSE(alive.expired());
  }
  EXPECT_TRUE(alive.expired());
}

TEST(BulkTest, FieldsAfterTheBulkAreTaken) {
  v1::PutRequest first;
  first.set_data("bulk");
  v1::PutRequest second;
  second.mutable_commit()->add_blocks(9);
  // Field 1001, of a newer peer: varint 5.
  const std::string newer = std::string("\xc8\x3e\x05", 3);
  v1::PutRequest head;
  BulkView bulk;
  ASSERT_TRUE(Decode(first.SerializeAsString() + second.SerializeAsString() + newer, &head, &bulk).ok());
  EXPECT_EQ(head.commit().blocks(0), 9u);
  EXPECT_EQ(BytesOf(bulk), "bulk");
}

TEST(BulkTest, TheBulkTwiceIsRefused) {
  v1::PutRequest request;
  request.set_data("bulk");
  v1::PutRequest head;
  BulkView bulk;
  const absl::Status status = Decode(request.SerializeAsString() + request.SerializeAsString(), &head, &bulk);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("twice"), absl::string_view::npos);
}

TEST(BulkTest, EveryTruncationIsRefusedOrEndsAtAField) {
  const std::string bytes = Sample().SerializeAsString();
  for (size_t n = 0; n < bytes.size(); ++n) {
    v1::PutRequest head;
    BulkView bulk;
    const std::string cut = bytes.substr(0, n);
    const absl::Status status = Decode(cut, &head, &bulk);
    v1::PutRequest reference;
    EXPECT_EQ(status.ok(), reference.ParseFromString(cut)) << n << ": " << status;
    if (!status.ok()) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    }
  }
}

TEST(BulkTest, VarintsThatDoNotEnd) {
  v1::PutRequest head;
  BulkView bulk;
  EXPECT_TRUE(absl::IsInvalidArgument(Decode(std::string(20, '\xff'), &head, &bulk)));
  EXPECT_TRUE(absl::IsInvalidArgument(Decode(std::string("\x08") + std::string(11, '\x80'), &head, &bulk)));
  std::string tag = "\xc2\x3e";  // the bulk field, then a length that does not end
  ASSERT_EQ(tag.size(), kBulkTagBytes);
  EXPECT_TRUE(absl::IsInvalidArgument(Decode(tag, &head, &bulk)));
  EXPECT_TRUE(absl::IsInvalidArgument(Decode(tag + "\x80", &head, &bulk)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Decode(tag + std::string("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), &head, &bulk)));
}

TEST(BulkTest, AnEmptyMessageIsOne) {
  v1::PutRequest head;
  BulkView bulk;
  EXPECT_TRUE(Decode("", &head, &bulk).ok());
  EXPECT_TRUE(bulk.empty());
  EXPECT_TRUE(DecodeBulk(EncodeBulk(head, {}), &head, &bulk).ok());
}

TEST(BulkTest, WhatStandsBesideTheBulkIsLimited) {
  v1::PutRequest head;
  BulkView bulk;
  v1::PutRequest request;
  request.mutable_header()->set_profile(std::string(kMaxBulkHeaderBytes, 'p'));
  EXPECT_TRUE(absl::IsResourceExhausted(Decode(request.SerializeAsString(), &head, &bulk)));
  request.mutable_header()->set_profile(std::string(kMaxBulkHeaderBytes - 100, 'p'));
  request.set_data(std::string(3 << 20, 'd'));
  EXPECT_TRUE(Decode(request.SerializeAsString(), &head, &bulk).ok());
  EXPECT_EQ(bulk.bytes(), uint64_t{3} << 20);
  // Many small fields, none of them long.
  std::string many;
  for (int i = 0; i < 400'000; ++i) many += "\x08\x01\x10";
  many.push_back('\x01');
  EXPECT_TRUE(absl::IsResourceExhausted(Decode(many, &head, &bulk)));
}

TEST(BulkTest, RandomMutationsNeverDisagreeWithProtobuf) {
  const std::string bytes = Sample().SerializeAsString();
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string mutated = bytes;
    for (uint32_t n = 1 + random() % 3; n > 0; --n) {
      switch (random() % 3) {
        case 0:
          mutated[random() % mutated.size()] = static_cast<char>(random());
          break;
        case 1:
          mutated.insert(random() % mutated.size(), 1, static_cast<char>(random()));
          break;
        default:
          if (mutated.size() > 1) mutated.erase(random() % mutated.size(), 1);
      }
    }
    v1::PutRequest head;
    BulkView bulk;
    const size_t cut = random() % (mutated.size() + 1);
    if (!DecodeBulk(Cut(mutated, {cut}), &head, &bulk).ok()) continue;
    v1::PutRequest reference;
    ASSERT_TRUE(reference.ParseFromString(mutated)) << i;
    EXPECT_EQ(reference.data(), BytesOf(bulk));
    reference.clear_data();
    EXPECT_EQ(reference.SerializeAsString(), head.SerializeAsString());
  }
}

}  // namespace
}  // namespace kvcompd
