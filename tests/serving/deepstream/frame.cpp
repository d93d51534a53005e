// One frame's outputs through the parser, as nvinfer hands them over; one line for each object.
#include <cstdio>
#include <cstring>

#include "nvdsinfer_custom_impl.h"

extern "C" bool MaskrtParseInstances(std::vector<NvDsInferLayerInfo> const&,
                                     NvDsInferNetworkInfo const&,
                                     NvDsInferParseDetectionParams const&,
                                     std::vector<NvDsInferInstanceMaskInfo>&);
extern "C" bool MaskrtParseBoxes(std::vector<NvDsInferLayerInfo> const&,
                                 NvDsInferNetworkInfo const&, NvDsInferParseDetectionParams const&,
                                 std::vector<NvDsInferObjectDetectionInfo>&);

static NvDsInferLayerInfo layer(const char* name, NvDsInferDataType type, void* buffer,
                                std::vector<unsigned int> dims) {
  NvDsInferLayerInfo info{type, {}, 0, name, buffer, 0};
  info.inferDims.numDims = dims.size();
  info.inferDims.numElements = 1;
  for (unsigned int i = 0; i < dims.size(); ++i) {
    info.inferDims.d[i] = dims[i];
    info.inferDims.numElements *= dims[i];
  }
  return info;
}

int main(int count, char** words) {
  const bool proposals = count > 1 && std::strcmp(words[1], "proposals") == 0;
  float boxes[] = {1, 2, 11, 22, 5, 6, 7, 8, 0, 0, 3, 4, 0, 0, 0, 0};
  float scores[] = {0.9f, 0.4f, 0.6f, 0};
  int labels[] = {1, 0, 7, 0};  // the third is no class that is configured
  float masks[4 * 2 * 3];
  for (int i = 0; i < 24; ++i) masks[i] = i / 24.f;
  std::vector<NvDsInferLayerInfo> outputs{
      layer("masks", FLOAT, masks, {4, 2, 3}),
      layer("scores", FLOAT, scores, {4}),
      layer(proposals ? "windows" : "boxes", FLOAT, boxes, {4, 4}),
  };
  if (!proposals) outputs.push_back(layer("labels", INT32, labels, {4}));
  NvDsInferParseDetectionParams asked{2, {0.3f, 0.5f}, {}};
  NvDsInferNetworkInfo network{48, 32, 3};

  int sizes[4] = {};
  std::vector<NvDsInferLayerInfo> inputs{layer("image_sizes", INT32, sizes, {2})};
  if (!NvDsInferInitializeInputLayers(inputs, network, 2)) return 1;
  std::printf("sizes %d %d %d %d\n", sizes[0], sizes[1], sizes[2], sizes[3]);

  std::vector<NvDsInferInstanceMaskInfo> instances;
  if (!MaskrtParseInstances(outputs, network, asked, instances)) return 2;
  for (auto const& found : instances) {
    std::printf("instance %u %g %g %g %g %g mask %ux%u %u %g\n", found.classId, found.left,
                found.top, found.width, found.height, found.detectionConfidence, found.mask_height,
                found.mask_width, found.mask_size, 24 * found.mask[0]);
    delete[] found.mask;
  }
  std::vector<NvDsInferObjectDetectionInfo> objects;
  if (!MaskrtParseBoxes(outputs, network, asked, objects)) return 3;
  std::printf("boxes %zu\n", objects.size());

  outputs[1].dataType = HALF;  // not what the engine gives
  return MaskrtParseInstances(outputs, network, asked, instances) ? 4 : 0;
}
