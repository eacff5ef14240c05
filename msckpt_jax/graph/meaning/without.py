"""Why an operator of MindSpore has no meaning in JAX: by its name, or by the kind of its name."""

from __future__ import annotations

import re

#: The reason, and the operators.
NAMES: dict[str, str] = {
    "it exchanges data with other devices; a file of one device has none of it": """
        AllGather AllReduce Broadcast AllGatherMatmul MatmulReduceScatter
        MatmulAllReduceAddRmsNorm MoeDistributeCombine MoeDistributeDispatch
        CreateSymmetricMemory GetMem PutMem PutMemSignal SignalOp SignalWaitUntil""",
    "it moves a tensor between memories, or frees it, which JAX does by itself": """
        CopyToDevice CopyToHost UpdateToDevice UpdateToRemote Free GetData SetData""",
    "it gives memory that is not initialised: its numbers are any": "Empty EmptyLike NewEmpty",
    "it prints, checks or calls Python on the host while the model runs": """
        Assert Debug Print PyExecute PyFunc raise JoinedStr""",
    "it reads the memory of its operand, whose order a file does not tell": "AsStrided",
    "its kernel is code outside of MindSpore": "CustomExt CustomOpPlugin GEGraphOp",
    "it is an inner step of MindSpore's compiler, which a file does not keep": """
        EllipsisToSlice EnvironCreate EnvironDestroyAll EnvironGet EnvironSet
        GetSqueezeSliceShape GetTupleIndexInfo NormalizeDimIndex NormalizeSlice
        NormalizeTupleIndex RemakeTupleIndex RemoveExpandedDims SliceToIndices
        FFTOrtho TileSize""",
    "it is a step of an embedding table that is kept on a parameter server": """
        MapCacheIdx PadAndShift SubAndFilter UpdateCache DynamicAssign MapUniform""",
    "it watches a training for overflows and silent faults of the device": """
        AllFinite NPUClearFloatStatusV2 NPUGetFloatStatusV2 SilentCheckV2 SilentCheckV3""",
    "JAX has no such function": "BesselJ0 BesselJ1 BesselY0 BesselY1 Geqrf LinearSumAssignment",
    "it works on sparse tensors of computed sizes, which JAX has not": """
        CSRSparseMatrixToDense CSRSparseMatrixToSparseTensor Coalesce DenseToCSRSparseMatrix
        DenseToDenseSetOperation DenseToSparseSetOperation EditDistance RaggedTensorToSparse
        RaggedTensorToTensor SetSize SparseAdd SparseConcat SparseCountSparseOutput
        SparseFillEmptyRows SparseMatrixAdd SparseMatrixMatMul SparseMatrixMul SparseMatrixNNZ
        SparseMatrixOrderingAMD SparseMatrixSoftmax SparseMatrixTranspose SparseReorder
        SparseReshape SparseSlice SparseSparseMaximum SparseSparseMinimum
        SparseTensorToCSRSparseMatrix Sspaddmm CTCGreedyDecoder SparseSoftmax""",
    "its flat weights are in an order of oneDNN's, which is no public format": "GRUV2",
    "MindSpore's documents do not define it": """
        AddRmsNormDynamicQuant AddRmsNormQuantV2 ApplyRotaryPosEmb BatchNormWithActivation
        BatchNormWithAddAndActivation ConvTbc ConvolutionStr DequantSwigluQuant
        DynamicBlockQuant DynamicNTK FusedAddTopKDiv FusedMatmulElemBinary FusedMatmulElemUnary
        GroupTopk InnerUnique InplaceGroupedMatmulAdd KvScaleCache LightningIndexer
        MatmulBiasSplitOut2 MatmulBiasSplitOut3 MatmulBiasSplitSiluOut2 MatmulSplitOut2
        MatmulSplitOut3 MatmulSplitSiluFastgeluAddMulOut1 MatmulSplitSiluMulOut1
        MatmulSplitSiluOut2 Mla MlaPreprocess MoeInitRoutingQuantV2 MultiScaleDeformableAttn
        NsaCompress NsaCompressAttention NsaSelectAttention QMatmulSplitSiluFastgeluAddMulOut1
        QMatmulSplitSiluMulOut1 QuantLinearSparse QuantbatchmatmulSplitOut2
        QuantbatchmatmulSplitOut3 QuantbatchmatmulSplitSiluOut2 RmsNormQuant RotatedIou
        SwiGLUDynamicQuant TopKRouter TopPRouter TransData LUSolver QR Rolling Shift ResizeD
        InplaceMatmulAdd ApplyAdamW ConvolutionStrGrad ScaleGrad SoftmaxGradFusion
        GmmBackward GmmBackwardFusion GmmV2Backward GmmV2BackwardFusion""",
    "it watches gradients, or makes faults in them, for tests of a training": """
        CellBackwardHook DumpGradient InsertGemV2InBackward""",
    "it is a part of a batch normalization over several devices": """
        BatchNormElemtGrad BatchNormGatherStatsWithCounts BatchNormReduceGrad""",
    "it is the gradient of GRUV2, whose flat weights are in an order of oneDNN's": "GRUV2Grad",
    "it is the gradient of the whole numbers of a shape": "ShapeMulGrad",
    "it is the gradient of an operator that draws random numbers": """
        DropoutGradExt FractionalAvgPoolGrad FractionalMaxPoolGrad""",
    "it is the gradient of an operator on sparse tensors of computed sizes": """
        SparseAddGrad SparseFillEmptyRowsGrad SparseSliceGrad""",
    "it has no meaning yet: tell us if a model of yours has it": """
        SpeedFusionAttention QuantMatmul SparseFlashAttention DeformableOffsets LstsqV2
        PSROIPooling ResizeV2 ScaleAndTranslate""",
}
#: The reason, and a pattern that some part of the name has.
KINDS: dict[str, str] = {
    "it exchanges data with other devices; a file of one device has none of it": (
        "^(DistComm|InnerComm|AlltoAll|NeighborExchange|ReduceScatter|AllGather|Collective)"
    ),
    "it is the gradient of an operator that has no meaning": "Grad(?!ient)|Backprop|Backward",
    "it changes its first operand, a parameter or the state of an optimizer": (
        "^(Assign|Inplace|InnerInplace|Scatter(Nd)?(Add|Sub|Mul|Div|Max|Min|Update))|Apply|"
        "^(Adam|Fused(AdaFactor|CastAdam|Sparse)|SGD|IndexPut|ReshapeAndCache|KVCache|TensorCopySlices)"
    ),
    "it draws random numbers by a generator of MindSpore's that JAX has not": (
        "Rand|Dropout|Normal|Uniform|Multinomial|Bernoulli|Poisson|^(Cauchy|ExtractGlimpse|"
        "Fractional(Avg|Max)Pool|Generat|NonDeterministic|SampleDistorted|StandardLaplace)"
    ),
}


def reason(op: str) -> str:
    """Why an operator has no meaning; empty where nothing is known about it."""
    for text, names in NAMES.items():
        if op in names.split():
            return text
    return next((text for text, kind in KINDS.items() if re.search(kind, op)), "")
