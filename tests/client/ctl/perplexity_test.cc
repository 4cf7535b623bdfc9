// The model runner against an implementation in double that shares nothing with it, its files, and what
// profiles do to a tiny model.
#include "client/ctl/perplexity.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/llama_loader.h"
#include "client/ctl/matmul.h"
#include "client/ctl/npz.h"
#include "client/kv_file.h"
#include "codec/float_format.h"
#include "codec/simd/targets.h"
#include "gtest/gtest.h"
#include "tests/client/ctl/llama_samples.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::client {
namespace {

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

LlamaModel LoadTiny(const TinyLlama& tiny) {
  return LlamaOfArrays(ConfigJsonOf(tiny), ParseNpz(Bytes(NpzOf(tiny))).value()).value();
}

// Logits of every token by the formulas of llama_model.h, all tokens at once, in double.
std::vector<std::vector<double>> PlainForward(const TinyLlama& tiny, const std::vector<uint16_t>& tokens) {
  using Vector = std::vector<double>;
  const LlamaConfig& c = tiny.config;
  const auto array = [&](const std::string& name) -> const std::vector<float>& {
    return tiny.arrays.at(name).second;
  };
  const auto times = [&](const Vector& x, const std::string& name) {
    const auto& w = array(name);
    Vector out(w.size() / x.size());
    for (size_t o = 0; o < out.size(); ++o) {
      for (size_t i = 0; i < x.size(); ++i) out[o] += w[o * x.size() + i] * x[i];
    }
    return out;
  };
  const auto rms = [&](const Vector& x, const std::string& name) {
    double squares = 0;
    for (const double v : x) squares += v * v;
    Vector out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      out[i] = x[i] / std::sqrt(squares / x.size() + 1e-5) * array(name)[i];
    }
    return out;
  };
  const auto rotate = [&](size_t place, Vector* x) {
    for (size_t at = 0; at < x->size(); at += c.head_dim) {
      for (uint32_t i = 0; i < c.head_dim / 2; ++i) {
        const double angle = place / std::pow(10000.0, 2.0 * i / c.head_dim);
        double& a = (*x)[at + (c.rope_interleaved ? 2 * i : i)];
        double& b = (*x)[at + (c.rope_interleaved ? 2 * i + 1 : i + c.head_dim / 2)];
        const double a0 = a, b0 = b;
        a = a0 * std::cos(angle) - b0 * std::sin(angle);
        b = a0 * std::sin(angle) + b0 * std::cos(angle);
      }
    }
  };
  std::vector<Vector> x;
  for (const uint16_t id : tokens) {
    x.emplace_back(array("emb").begin() + id * c.dim, array("emb").begin() + (id + 1) * c.dim);
  }
  for (uint32_t l = 0; l < c.layers; ++l) {
    const auto name = [l](const char* part) { return absl::StrCat(l, ".", part); };
    std::vector<Vector> q, k, v;
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector h = rms(x[t], name("n1"));
      q.push_back(times(h, name("q")));
      k.push_back(times(h, name("k")));
      v.push_back(times(h, name("v")));
      rotate(t, &q[t]);
      rotate(t, &k[t]);
    }
    for (size_t t = 0; t < x.size(); ++t) {
      Vector out(c.dim);
      for (uint32_t head = 0; head < c.heads; ++head) {
        const uint32_t kv = head / (c.heads / c.kv_heads);
        Vector p(t + 1);
        double sum = 0;
        for (size_t s = 0; s <= t; ++s) {
          for (uint32_t i = 0; i < c.head_dim; ++i)
            p[s] += q[t][head * c.head_dim + i] * k[s][kv * c.head_dim + i];
          sum += p[s] = std::exp(p[s] / std::sqrt(c.head_dim));
        }
        for (size_t s = 0; s <= t; ++s) {
          for (uint32_t i = 0; i < c.head_dim; ++i)
            out[head * c.head_dim + i] += p[s] / sum * v[s][kv * c.head_dim + i];
        }
      }
      const Vector o = times(out, name("o"));
      for (size_t i = 0; i < o.size(); ++i) x[t][i] += o[i];
      const Vector h = rms(x[t], name("n2"));
      Vector gate = times(h, name("g"));
      const Vector up = times(h, name("u"));
      for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
      const Vector down = times(gate, name("dn"));
      for (size_t i = 0; i < down.size(); ++i) x[t][i] += down[i];
    }
  }
  std::vector<Vector> logits;
  for (const Vector& row : x) logits.push_back(times(rms(row, "norm"), "emb"));
  return logits;
}

class LlamaModelTest : public ::testing::TestWithParam<bool> {};

TEST_P(LlamaModelTest, ComputesWhatItsFormulasSay) {
  const TinyLlama tiny = MakeTinyLlama(GetParam());
  const LlamaModel model = LoadTiny(tiny);
  const std::vector<uint16_t> tokens = TinyTexts(tiny, 1, 37)[0];
  const auto want = PlainForward(tiny, tokens);
  LlamaCache cache(model.config);
  cache.bf16 = false;
  // In pieces: what is in the cache counts as what comes at once.
  std::vector<float> got;
  for (const auto& [first, count] : {std::pair{0, 20}, {20, 1}, {21, 16}}) {
    const auto part = model.Forward(std::span(tokens).subspan(first, count), &cache);
    got.insert(got.end(), part.begin(), part.end());
  }
  ASSERT_EQ(got.size(), tokens.size() * model.config.vocab);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i / model.config.vocab][i % model.config.vocab], 2e-4) << i;
  }
}

TEST_P(LlamaModelTest, TokensDoNotSeeWhatComesAfterThem) {
  const TinyLlama tiny = MakeTinyLlama(GetParam());
  const LlamaModel model = LoadTiny(tiny);
  std::vector<uint16_t> tokens = TinyTexts(tiny, 1, 20)[0];
  LlamaCache a(model.config), b(model.config);
  const auto first = model.Forward(tokens, &a);
  tokens[12] = static_cast<uint16_t>((tokens[12] + 1) % tiny.config.vocab);
  const auto second = model.Forward(tokens, &b);
  const size_t vocab = model.config.vocab;
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 12 * vocab, second.begin()));
  EXPECT_FALSE(std::equal(first.begin() + 19 * vocab, first.end(), second.begin() + 19 * vocab));
}

INSTANTIATE_TEST_SUITE_P(Rope, LlamaModelTest, ::testing::Bool());

TEST(LlamaLoaderTest, BothFormsAreTheSameModel) {
  const TinyLlama tiny = MakeTinyLlama(true);
  const LlamaModel arrays = LoadTiny(tiny);
  const auto llama2c = LlamaOfLlama2c(Bytes(Llama2cOf(tiny)));
  ASSERT_TRUE(llama2c.ok()) << llama2c.status();
  const auto tokens = TinyTexts(tiny, 1, 10)[0];
  LlamaCache a(arrays.config), b(llama2c->config);
  EXPECT_EQ(arrays.Forward(tokens, &a), llama2c->Forward(tokens, &b));
}

TEST(LlamaLoaderTest, RefusesWhatIsMalformed) {
  const TinyLlama tiny = MakeTinyLlama(true);
  const std::string npz = NpzOf(tiny), llama2c = Llama2cOf(tiny), config = ConfigJsonOf(tiny);
  for (size_t n = 0; n < llama2c.size(); n += n < 40 ? 1 : 997) {
    EXPECT_FALSE(LlamaOfLlama2c(Bytes(llama2c.substr(0, n))).ok()) << n;
  }
  EXPECT_FALSE(LlamaOfLlama2c(Bytes(llama2c + "1234")).ok());
  for (size_t at = 0; at < 28; at += 4) {
    std::string bad = llama2c;
    bad.replace(at, 4, "\xff\xff\xff\x7f", 4);
    EXPECT_FALSE(LlamaOfLlama2c(Bytes(bad)).ok()) << at;
  }
  for (size_t n = 0; n < npz.size(); n += 251) EXPECT_FALSE(ParseNpz(Bytes(npz.substr(0, n))).ok()) << n;
  std::string flipped = npz;
  flipped[npz.size() / 2] = static_cast<char>(flipped[npz.size() / 2] ^ 1);
  EXPECT_FALSE(ParseNpz(Bytes(flipped)).ok());
  const auto arrays = ParseNpz(Bytes(npz)).value();
  for (const char* bad : {"", "[]", "{}", "{\"d\":32}"}) EXPECT_FALSE(LlamaOfArrays(bad, arrays).ok()) << bad;
  for (const auto& [from, to] : {std::pair{"\"L\":2", "\"L\":3"},
                                 {"\"vocab\":50", "\"vocab\":51"},
                                 {"\"hd\":8", "\"hd\":9"},
                                 {"\"rope\":\"interleaved\"", "\"rope\":\"other\""},
                                 {"\"KV\":2", "\"KV\":3"}}) {
    std::string bad = config;
    bad.replace(bad.find(from), std::string(from).size(), to);
    EXPECT_FALSE(LlamaOfArrays(bad, arrays).ok()) << to;
  }
}

// Sums go in the order of their terms, so every instruction set gives the same floats.
TEST(MatMulTest, IsTheSameOnEveryInstructionSet) {
  kvcompd::testing::Random random(11);
  const auto floats = [&](size_t n) {
    std::vector<float> out(n);
    for (float& v : out) v = static_cast<float>(random.Bell());
    return out;
  };
  for (const size_t rows : {1u, 3u, 4u, 7u}) {
    for (const size_t out : {1u, 16u, 31u, 33u, 70u, 128u}) {
      const std::vector<float> x = floats(rows * 19), w = floats(19 * out);
      std::vector<float> want(rows * out);
      for (size_t r = 0; r < rows; ++r) {
        for (size_t o = 0; o < out; ++o) {
          for (size_t i = 0; i < 19; ++i) want[r * out + o] += x[r * 19 + i] * w[i * out + o];
        }
      }
      const std::vector<float> q = floats(out), k = floats(out * 40), v = floats(40 * out);
      std::vector<float> first;
      for (const codec::SimdTarget target : codec::SupportedSimdTargets()) {
        codec::UseSimdTarget(target);
        std::vector<float> y(rows * out, -1.0f), weights(40), attended(out);
        MatMul(x.data(), w.data(), rows, 19, out, y.data());
        EXPECT_EQ(y, want);
        AttendOnce(q.data(), k.data(), v.data(), 37, 40, out, weights.data(), attended.data());
        if (first.empty()) first = attended;
        EXPECT_EQ(attended, first);
      }
    }
  }
  codec::UseSimdTarget(codec::SupportedSimdTargets().back());
}

class PerplexityTest : public ::testing::TestWithParam<PerplexityMode> {
 protected:
  PerplexityTest() {
    const TinyLlama tiny = MakeTinyLlama(false);
    loaded_.model = LoadTiny(tiny);
    loaded_.texts = TinyTexts(tiny, 4, 150);
    lab_ = PerplexityLab::Make(loaded_, {.mode = GetParam(), .threads = 2}).value();
  }
  PerplexityRow Measure(const char* profile) {
    return lab_->Measure(Profile::Parse(profile).value()).value();
  }

  LoadedLlama loaded_;
  std::unique_ptr<PerplexityLab> lab_;
};

TEST_P(PerplexityTest, RawChangesNothing) {
  const PerplexityRow raw = Measure("raw");
  EXPECT_NEAR(raw.kl_mean, 0, 1e-9);
  EXPECT_NEAR(raw.perplexity_change, 0, 1e-6);
  EXPECT_EQ(raw.same_top, 1);
  EXPECT_EQ(raw.predictions, 4u * (150 - 64 - 1));
  EXPECT_LT(raw.ratio_effective, 1);
  EXPECT_NEAR(raw.perplexity, lab_->reference_perplexity(), 1e-4);
  EXPECT_GT(raw.perplexity, 1);
}

TEST_P(PerplexityTest, MoreLossMovesTheDistributionMore) {
  const PerplexityRow fine = Measure("kvcomp:rel_k=0.02,rel_v=0.02"),
                      coarse = Measure("kvcomp:rel_k=0.3,rel_v=0.3");
  EXPECT_GT(fine.kl_mean, 0);
  EXPECT_GT(coarse.kl_mean, 10 * fine.kl_mean);
  EXPECT_GE(coarse.kl_p99, coarse.kl_mean);
  EXPECT_LT(coarse.same_top, 1);
  EXPECT_GT(coarse.ratio_effective, fine.ratio_effective);
  EXPECT_NE(coarse.perplexity, lab_->reference_perplexity());
  const auto float32 = lab_->MeasureFloat32();
  ASSERT_TRUE(float32.ok());
  EXPECT_GT(float32->kl_mean, 0);
  EXPECT_LT(float32->kl_mean, fine.kl_mean);
}

INSTANTIATE_TEST_SUITE_P(Modes, PerplexityTest,
                         ::testing::Values(PerplexityMode::kPrefix, PerplexityMode::kDecode));

TEST(PerplexityLabTest, NeedsTextsLongEnough) {
  LoadedLlama loaded{.model = LoadTiny(MakeTinyLlama(false))};
  EXPECT_FALSE(PerplexityLab::Make(loaded, {}).ok());
  loaded.texts = {std::vector<uint16_t>(100), std::vector<uint16_t>(100)};
  EXPECT_FALSE(PerplexityLab::Make(loaded, {}).ok());
}

// The real model gives the keys, values and losses that stand with the real samples, where both are at hand.
TEST(RealModelTest, GivesTheKeysAndLossesOfTheSamples) {
  const char* const data = std::getenv("KVCOMPD_DATA");
  const char* const models = std::getenv("KVCOMPD_MODEL");
  if (data == nullptr || models == nullptr) GTEST_SKIP() << "KVCOMPD_DATA and KVCOMPD_MODEL name the samples";
  const auto loaded = LoadLlama(absl::StrCat(models, "/docs6m"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto file = LoadKvFile(absl::StrCat(data, "/docs6m.docs1"));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<uint16_t> tokens(file->token_ids.begin(), file->token_ids.end());
  LlamaCache cache(loaded->model.config);
  cache.bf16 = false;
  const std::vector<float> logits = loaded->model.Forward(tokens, &cache);
  const LlamaConfig& c = loaded->model.config;
  double difference = 0, squares = 0;
  std::vector<float> values(file->head_dim);
  for (uint32_t layer = 0; layer < c.layers; ++layer) {
    for (uint32_t t = 0; t < file->tokens; ++t) {
      for (uint32_t head = 0; head < c.kv_heads; ++head) {
        const size_t at = (size_t{t} * c.kv_heads + head) * c.head_dim * 2;
        for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
          codec::FloatsOfValues(file->dtype, file->TensorValues(layer, tensor).data() + at, c.head_dim,
                                values.data());
          for (uint32_t i = 0; i < c.head_dim; ++i) {
            const float x = tensor == Tensor::kK ? cache.k(layer, head)[size_t{i} * c.context + t]
                                                 : cache.v(layer, head)[size_t{t} * c.head_dim + i];
            difference += (x - values[i]) * (x - values[i]);
            squares += values[i] * values[i];
          }
        }
      }
    }
  }
  EXPECT_LT(std::sqrt(difference / squares), 1.0 / 256);  // what bf16 rounds off
  double nll = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const float* const row = logits.data() + t * c.vocab;
    double sum = 0;
    for (uint32_t v = 0; v < c.vocab; ++v) sum += std::exp(static_cast<double>(row[v]));
    nll += std::log(sum) - row[tokens[t + 1]];
  }
  std::ifstream json(absl::StrCat(data, "/docs6m.docs1.json"));
  std::stringstream text;
  text << json.rdbuf();
  const std::string all = text.str();
  const size_t at = all.find("\"nll_per_token\":");
  ASSERT_NE(at, std::string::npos);
  EXPECT_NEAR(nll / static_cast<double>(tokens.size() - 1), std::atof(all.c_str() + at + 16), 1e-3);
}

}  // namespace
}  // namespace kvcompd::client
