# SPDX-License-Identifier: Apache-2.0
# Where an error goes: relative L2 of each layer's output when one layer's matrices are rounded,
# and what float32 itself does there.
#   gnuplot -e "out='F.svg'; type='q4_k'" notebooks_data/plots/sensitivity_depth.gp
if (!exists("out")) out = 'sensitivity_depth.svg'
if (!exists("folder")) folder = 'notebooks_data/results/sensitivity/'
if (!exists("type")) type = 'q4_k'
table = folder.'calibrate_depth.csv'
set terminal svg size 900,560 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
w(l) = strcol(1) eq 'layer' && strcol(3) eq 'weights' && strcol(4) eq 'in' && \
       strcol(5) eq type && strcol(2) eq sprintf('%d', l)
stats folder.'calibrate_noise.csv' using 1 nooutput
last = int(STATS_max)
set title 'One layer in '.type.': error of the outputs behind it (miniature)'
set xlabel 'output of layer'
set ylabel 'relative L2 to the float32 reference'
set logscale y
set xtics 1
set format y '%.0e'
set grid ytics lc rgb '#dddddd'
set key outside right
plot for [l=0:last] table using (w(l) ? $9 : NaN):10 with linespoints pt 7 ps 0.7 lw 1.6 \
     title sprintf('layer %d', l), \
     folder.'calibrate_noise.csv' using 1:2 with linespoints dt 2 pt 6 lc rgb '#888888' \
     title 'float32 itself'
