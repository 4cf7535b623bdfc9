#include "codec/base/chain_hash.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace kvcompd {
namespace {

using std::string_view_literals::operator""sv;

BlockKey KeyOfSha256(std::string_view text) { return BlockKey::FromDigest(Sha256(text)); }

TEST(ChainHashTest, IsTheDocumentedBytes) {
  const std::vector<uint32_t> tokens = {1, 0x01020304};
  EXPECT_EQ(ChainHash({}, tokens), KeyOfSha256("kvcompd.block.v1\0"
                                               "\0"
                                               "\2\0\0\0"
                                               "\1\0\0\0"
                                               "\4\3\2\1"
                                               "\0\0\0\0"sv));
  const BlockKey parent = *BlockKey::FromBytes("0123456789abcdef");
  const std::vector<std::string> extra = {"lora", ""};
  EXPECT_EQ(ChainHash(parent, {}, extra), KeyOfSha256("kvcompd.block.v1\0"
                                                      "\x10"
                                                      "0123456789abcdef"
                                                      "\0\0\0\0"
                                                      "\2\0\0\0"
                                                      "\4\0\0\0"
                                                      "lora"
                                                      "\0\0\0\0"sv));
}

TEST(ChainHashTest, EveryInputMatters) {
  const std::vector<uint32_t> ab = {1, 2}, ba = {2, 1}, a = {1};
  const std::vector<std::string> xy = {"x", "y"}, yx = {"y", "x"}, joined = {"xy"}, empty = {""};
  const BlockKey parent = ChainHash({}, a);
  const std::set<BlockKey> keys = {ChainHash({}, ab),         ChainHash({}, ba),       ChainHash({}, a),
                                   ChainHash(parent, ab),     ChainHash({}, ab, xy),   ChainHash({}, ab, yx),
                                   ChainHash({}, ab, joined), ChainHash({}, ab, empty)};
  EXPECT_EQ(keys.size(), 8u);
}

TEST(ChainKeysTest, ChainsFullBlocksAndTheTailOnlyWhenAsked) {
  std::vector<uint32_t> tokens(150);
  std::iota(tokens.begin(), tokens.end(), 7);
  const std::span<const uint32_t> all(tokens);
  const std::vector<BlockKey> keys = ChainKeys(tokens, 64);
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0], ChainHash({}, all.first(64)));
  EXPECT_EQ(keys[1], ChainHash(keys[0], all.subspan(64, 64)));
  const std::vector<BlockKey> with_tail = ChainKeys(tokens, 64, {}, true);
  ASSERT_EQ(with_tail.size(), 3u);
  EXPECT_EQ(with_tail[2], ChainHash(keys[1], all.subspan(128)));
  EXPECT_EQ(ChainKeys(all.first(128), 64, {}, true).size(), 2u);
  EXPECT_TRUE(ChainKeys({}, 64, {}, true).empty());
  EXPECT_TRUE(ChainKeys(tokens, 0).empty());
}

TEST(SaltedKeyTest, EmptySaltLeavesTheKeyAndOthersAreTheDocumentedBytes) {
  const BlockKey key = *BlockKey::FromBytes("0123456789abcdef");
  EXPECT_EQ(SaltedKey(key, ""), key);
  EXPECT_EQ(SaltedKey(key, "s"), KeyOfSha256("kvcompd.salt.v1\0"
                                             "\1\0\0\0"
                                             "s"
                                             "\x10"
                                             "0123456789abcdef"sv));
  EXPECT_NE(SaltedKey(key, "s"), SaltedKey(key, "t"));
  EXPECT_EQ(SaltedKey(key, "s").size(), 32u);
}

}  // namespace
}  // namespace kvcompd
