"""What machines still see in a decoded picture: detection, segmentation, facial landmarks.

A folder of tasks holds any of

    <name>/images, <name>/boxes, <name>/masks, <name>/classes-boxes.yaml, <name>/classes-masks.yaml
    <name>/images, <name>/landmarks.csv
    networks/yolox*.onnx, networks/nanodet*.onnx                   look for boxes
    networks/deeplab*.onnx, networks/selfie*.onnx                  masks; selfie: of people alone
    networks/face_*.onnx, networks/landmarks_openseeface*.onnx     points, on the face found

and every task runs whose pictures, truth and networks are all there. The networks run in
onnxruntime on the CPU in one thread, unchanged: none is trained or tuned on decoded pictures.
"""
