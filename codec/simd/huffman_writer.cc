#include "codec/simd/huffman_writer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/simd/huffman_writer.cc"
#include "hwy/foreach_target.h"
// clang-format off: after foreach_target.h
#include "codec/simd/code_lengths-inl.h"
#include "codec/simd/element_lookup-inl.h"
// clang-format on

#include <algorithm>
#include <cstring>

#ifndef KVCOMPD_CODEC_SIMD_HUFFMAN_WRITER_ONCE_
#define KVCOMPD_CODEC_SIMD_HUFFMAN_WRITER_ONCE_
namespace kvcompd::codec {
namespace {

static_assert(kMaxCodeBits == 12, "a code and its length share 16 bits, and four codes 48");

// Of each symbol: its code, and its length in the upper 4 bits.
struct CodeTable {
  explicit CodeTable(const Codebook& book) {
    // Behind a book's symbols there are zeros to kMaxSymbols.
    const uint16_t* const codes = book.codes().data();
    const uint8_t* const lengths = book.lengths().data();
    const uint32_t n = (book.num_symbols() + 31) / 32 * 32;
    for (uint32_t s = 0; s < n; ++s)
      entries[s] = static_cast<uint16_t>(codes[s] | lengths[s] << kMaxCodeBits);
  }
  alignas(64) uint16_t entries[kMaxSymbols];
};

// Bits of several codes on end.
struct BitGroup {
  uint64_t bits;
  uint64_t count;
};

// Appends to a bit string, whole words at a time: writes up to 8 bytes behind the last bit.
class WordWriter {
 public:
  explicit WordWriter(std::byte* out) : next_(out) {}

  // group.count: at most 56, so that it fits beside up to 7 bits from before.
  void Put(BitGroup group) {
    pending_ |= group.bits << count_;
    std::memcpy(next_, &pending_, sizeof pending_);
    count_ += group.count;
    next_ += count_ >> 3;
    pending_ >>= count_ & ~uint64_t{7};  // at most 56
    count_ &= 7;
  }

 private:
  std::byte* next_;
  uint64_t pending_ = 0;
  uint64_t count_ = 0;  // of pending_, under 8
};

}  // namespace
}  // namespace kvcompd::codec
#endif  // KVCOMPD_CODEC_SIMD_HUFFMAN_WRITER_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kvcompd::codec {
namespace HWY_NAMESPACE {
namespace {  // other kernels have functions of these names

void StreamBits(const uint8_t* codes, const StreamLayout& layout, uint32_t channels, const Codebook& book,
                uint32_t* bits) {
  const CodeLengths lengths(book.lengths().data(), book.num_symbols());
  for (uint32_t i = 0; i < layout.streams; ++i) {
    const size_t n = size_t{layout.tokens_of(i)} * channels;
    bits[i] = lengths.Sum(codes, n);
    codes += n;
  }
}

void CodeRange(const uint8_t* codes, size_t n, uint8_t* least, uint8_t* greatest) {
  const hn::ScalableTag<uint8_t> d;
  auto min = hn::Set(d, uint8_t{0xff}), max = hn::Zero(d);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto c = hn::LoadU(d, codes + i);
    const auto within = hn::FirstN(d, std::min(n - i, hn::Lanes(d)));  // takes no count over 127
    min = hn::Min(min, hn::IfThenElse(within, c, min));
    max = hn::Max(max, hn::IfThenElse(within, c, max));
  }
  HWY_ALIGN uint8_t lanes[hn::MaxLanes(d)];
  hn::Store(min, d, lanes);
  *least = *std::min_element(lanes, lanes + hn::Lanes(d));
  hn::Store(max, d, lanes);
  *greatest = *std::max_element(lanes, lanes + hn::Lanes(d));
}

HWY_INLINE BitGroup GroupOf(const uint16_t* table, const uint8_t* codes, size_t n) {
  BitGroup group{0, 0};
  for (size_t k = 0; k < n; ++k) {
    const uint64_t entry = table[codes[k]];
    group.bits |= (entry & 0xfff) << group.count;
    group.count += entry >> kMaxCodeBits;
  }
  return group;
}

#if HWY_TARGET <= HWY_AVX3_DL

// Codes on end in lanes, and how many bits of each lane they take.
struct JoinedCodes {
  __m512i bits, lengths;
};
// From table entries of 16 bits to lanes of 32, each two codes, and on to lanes of 64, each four: the second
// half of a lane moves down to the end of the first.
HWY_INLINE JoinedCodes JoinPairs(__m512i entries) {
  const __m512i lengths = _mm512_srli_epi16(entries, kMaxCodeBits);
  const __m512i codes = _mm512_and_si512(entries, _mm512_set1_epi16(0xfff));
  const __m512i low = _mm512_set1_epi32(0xffff);
  const __m512i second = _mm512_sllv_epi32(_mm512_srli_epi32(codes, 16), _mm512_and_si512(lengths, low));
  return {_mm512_or_si512(_mm512_and_si512(codes, low), second),
          _mm512_madd_epi16(lengths, _mm512_set1_epi16(1))};
}
HWY_INLINE JoinedCodes JoinQuads(JoinedCodes pairs) {
  const __m512i low = _mm512_set1_epi64(0xffffffff);
  const __m512i first_lengths = _mm512_and_si512(pairs.lengths, low);
  const __m512i second = _mm512_sllv_epi64(_mm512_srli_epi64(pairs.bits, 32), first_lengths);
  return {_mm512_or_si512(_mm512_and_si512(pairs.bits, low), second),
          _mm512_add_epi64(first_lengths, _mm512_srli_epi64(pairs.lengths, 32))};
}

// Two neighbouring lanes to the lower one, eight codes. Only where all of them take at most 56 bits; else
// false.
HWY_INLINE bool JoinOctets(JoinedCodes quads, JoinedCodes* octets) {
  const __m512i upper_lengths = _mm512_bsrli_epi128(quads.lengths, 8);
  octets->lengths = _mm512_add_epi64(quads.lengths, upper_lengths);
  octets->bits =
      _mm512_or_si512(quads.bits, _mm512_sllv_epi64(_mm512_bsrli_epi128(quads.bits, 8), quads.lengths));
  return _mm512_cmpgt_epi64_mask(octets->lengths, _mm512_set1_epi64(56)) == 0;
}

HWY_INLINE void PutLanes(JoinedCodes codes, int step, WordWriter* out) {
  HWY_ALIGN uint64_t bits[8], counts[8];
  _mm512_store_si512(bits, codes.bits);
  _mm512_store_si512(counts, codes.lengths);
  for (int k = 0; k < 8; k += step) out->Put({bits[k], counts[k]});
}

// Writes n / 32 * 32 codes and returns their number. kSymbols: 32, 64 or 128, that the table has.
template <uint32_t kSymbols>
HWY_INLINE size_t WriteBy32(const uint16_t* table, const uint8_t* codes, size_t n, WordWriter* out) {
  const TableOf16<kSymbols> entries(table);
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512i code =
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i)));
    const JoinedCodes quads = JoinQuads(JoinPairs(entries(code)));
    JoinedCodes octets;
    if (JoinOctets(quads, &octets)) {
      PutLanes(octets, 2, out);
    } else {
      PutLanes(quads, 1, out);
    }
  }
  return i;
}

#endif

void WriteCodes(const uint8_t* codes, size_t n, const Codebook& book, std::byte* out) {
  const CodeTable table(book);
  WordWriter writer(out);
  size_t i = 0;
#if HWY_TARGET <= HWY_AVX3_DL
  if (book.num_symbols() <= 32) {
    i = WriteBy32<32>(table.entries, codes, n, &writer);
  } else if (book.num_symbols() <= 64) {
    i = WriteBy32<64>(table.entries, codes, n, &writer);
  } else if (book.num_symbols() <= 128) {
    i = WriteBy32<128>(table.entries, codes, n, &writer);
  }
#endif
  for (; i + 4 <= n; i += 4) writer.Put(GroupOf(table.entries, codes + i, 4));
  if (i < n) writer.Put(GroupOf(table.entries, codes + i, n - i));
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace kvcompd::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::codec {
namespace {
HWY_EXPORT(StreamBits);
HWY_EXPORT(CodeRange);
HWY_EXPORT(WriteCodes);
}  // namespace

HuffmanPlan PlanHuffmanStreams(const uint8_t* codes, uint32_t tokens, uint32_t channels,
                               const Codebook& book) {
  const StreamLayout layout(tokens);
  HuffmanPlan plan;
  HWY_DYNAMIC_DISPATCH(StreamBits)(codes, layout, channels, book, plan.stream_bits.data());
  SizeHuffmanPlan(layout, &plan);
  return plan;
}

PackedPlan PlanPackedCodes(const uint8_t* codes, uint32_t n) {
  uint8_t least = 0, greatest = 0;
  HWY_DYNAMIC_DISPATCH(CodeRange)(codes, n, &least, &greatest);
  return PackedPlanOf(least, greatest, n);
}

void WriteHuffmanStreams(const uint8_t* codes, uint32_t tokens, uint32_t channels, const Codebook& book,
                         const HuffmanPlan& plan, MutableByteSpan scratch, MutableByteSpan out) {
  const MutableByteSpan streams = WriteHuffmanDirectory(StreamLayout(tokens), plan, out);
  HWY_DYNAMIC_DISPATCH(WriteCodes)(codes, size_t{tokens} * channels, book, scratch.data());
  std::memcpy(streams.data(), scratch.data(), streams.size());
}

void AddCounts(const uint8_t* codes, size_t n, uint32_t* counts) {
  // Four tables, so that equal codes that follow each other need not wait for each other.
  uint32_t parts[3][kMaxSymbols] = {};
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    ++counts[codes[i]];
    ++parts[0][codes[i + 1]];
    ++parts[1][codes[i + 2]];
    ++parts[2][codes[i + 3]];
  }
  for (; i < n; ++i) ++counts[codes[i]];
  for (uint32_t s = 0; s < kMaxSymbols; ++s) counts[s] += parts[0][s] + parts[1][s] + parts[2][s];
}

}  // namespace kvcompd::codec
#endif  // HWY_ONCE
