# SPDX-License-Identifier: Apache-2.0
# KL of the whole model against bits a weight, with 95 % intervals: formats, and simulated widths.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/sensitivity_bits.gp
if (!exists("out")) out = 'sensitivity_bits.svg'
if (!exists("table")) table = 'notebooks_data/results/sensitivity/calibrate_points.csv'
set terminal svg size 900,560 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
format_of(t) = t[1:1] eq 's' || (t[1:1] eq 'a') ? 0 : 1
w(k) = strcol(1) eq 'model' && strcol(3) eq 'weights' && strcol(9) eq 'all' && \
       (k eq 'f' ? format_of(strcol(5)) : strcol(5)[1:1] eq k && strcol(5)[3:6] eq 'b32')
set title 'All matrices of the text model rounded (miniature)'
set xlabel 'bits a weight, scales included'
set ylabel 'KL to float32, nats a token'
set logscale y
set xrange [2:9.5]
set yrange [2e-6:5]
set format y '%.0e'
set grid ytics lc rgb '#dddddd'
set key top right
plot table using (w('s') ? $7 : NaN):12:13:14 with yerrorbars lc rgb '#888888' pt 6 lw 1.4 \
     title 'simulated, symmetric, blocks of 32', \
     '' using (w('a') ? $7 : NaN):12:13:14 with yerrorbars lc rgb '#e08e1b' pt 8 lw 1.4 \
     title 'with an offset', \
     '' using (w('f') ? $7 : NaN):12:13:14 with yerrorbars lc rgb '#1b6ca8' pt 7 lw 1.6 \
     title 'formats', \
     '' using (w('f') ? $7 : NaN):13:5 with labels offset char 0,-0.8 font ',11' notitle
