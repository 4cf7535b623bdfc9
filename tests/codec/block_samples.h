// Small blocks with values from a fixed formula, encoded: for tests, golden files and fuzz corpora.
//
//   BlockSpec spec{.profile = "kvcomp", .heads = 2, .tokens = 65};
//   BlockSample block = MakeBlock(spec);      // .container, and the .values of each segment
//
// Pure functions. They end the process where encoding fails: the callers are tests and generators.
#ifndef KVCOMPD_TESTS_CODEC_BLOCK_SAMPLES_H_
#define KVCOMPD_TESTS_CODEC_BLOCK_SAMPLES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codec/base/types.h"
#include "codec/codebook.h"
#include "codec/container.h"

namespace kvcompd::codec {

struct BlockSpec {
  std::string profile = "raw";
  DType dtype = DType::kBf16;
  std::vector<uint32_t> layers = {3};
  uint32_t head_begin = 0;
  uint32_t heads = 1;
  uint32_t tokens = 2;
  uint32_t head_dim_k = 8;
  uint32_t head_dim_v = 8;
  uint32_t seed = 1;
  std::shared_ptr<const CodebookSet> set;                                 // null: the built-in one
  std::function<std::string(const SegmentShape&, uint32_t seed)> values;  // null: SampleValues
};

struct BlockSample {
  BlockHeader header;
  std::vector<std::string> values;    // per segment, [heads, tokens, channels]
  std::vector<std::string> segments;  // encoded
  std::string container;
};

// Values that a lossy codec compresses: small numbers around a mean of their channel, all finite. The first
// head is constant where seed is 0. Opaque: bytes of all kinds.
std::string SampleValues(const SegmentShape& shape, uint32_t seed);

BlockHeader SampleHeader(const BlockSpec& spec);
// set: the one that the header names, if any.
std::string SampleSegment(const BlockHeader& header, uint32_t layer_index, Tensor tensor,
                          std::string_view values, const CodebookSet* set = nullptr,
                          EncodeStats* stats = nullptr);
// A set for these layers and one of all, from counts around the middle code.
std::shared_ptr<const CodebookSet> SampleSet(const Fingerprint& fingerprint, std::string_view profile,
                                             const std::vector<uint32_t>& layers);
BlockSample MakeBlock(const BlockSpec& spec);

// Recomputes checksums of bytes that a test has changed on purpose, by FORMAT.md and not by the code under
// test.
void ResealBlockHeader(std::string* container);
void ResealSegment(std::string* segment);  // header and index
// All checksums of payloads and group headers that the index points to, as far as they lie in the segment,
// and then of the index. The decoded values' only of raw tiles.
void ResealTiles(const Fingerprint& fingerprint, const BlockKey& key, std::string* segment);
void ResealFooter(std::string* container);

// The container as a newer minor version may write it: with additions to header and footer, sealed.
std::string WithAdditions(const std::string& container, uint8_t minor, size_t header_more,
                          size_t footer_more);
// The segment with `more` bytes between its group index and its data, sealed.
std::string WithExtension(const std::string& segment, uint32_t more, uint32_t may_ignore);

// Writes a little-endian field.
template <typename T>
void Poke(std::string* bytes, size_t offset, T value) {
  std::memcpy(bytes->data() + offset, &value, sizeof value);
}
template <typename T>
T Peek(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace kvcompd::codec

#endif  // KVCOMPD_TESTS_CODEC_BLOCK_SAMPLES_H_
